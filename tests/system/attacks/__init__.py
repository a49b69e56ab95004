"""Attacks on a live server: each is refused, leaves nothing behind, and its neighbours hardly notice.

| module | attacks |
|---|---|
| `test_floods` | pings, pongs, fragments, events and wrong events as fast as they are taken |
| `test_slow` | headers, bodies and TLS handshakes drop by drop; clients that do not read |
| `test_storm` | 10,000 connections in 10 seconds; sockets that break off at once |
| `test_bombs` | compressed bodies, deep nesting, endless messages, huge ids and keys, explosions of keys |
| `test_http` | smuggled requests, floods of headers, traversal of paths |
| `test_frames` | violations of RFC 6455, over and over |
| `test_browsers` | pages of wrong origins, names that were made to point here |
| `test_credentials` | guessed, stolen, expired and foreign credentials; tickets played again; scopes; malformed JWTs |

`scene` judges them all. What stands in tests/system about one client that does wrong is not repeated here.
"""
