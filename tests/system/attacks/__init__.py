"""Attacks on a live server: each is refused, leaves nothing behind, and its neighbours hardly notice.

| module | attacks |
|---|---|
| `test_floods` | pings, pongs, fragments, events and wrong events as fast as they are taken |
| `test_slow` | headers, bodies and TLS handshakes drop by drop; clients that do not read |
| `test_storm` | 10,000 connections in 10 seconds; sockets that break off at once |
| `test_bombs` | compressed bodies, deep nesting, endless messages, huge ids and keys, explosions of keys |
| `test_http` | smuggled requests, floods of headers, traversal of paths |
| `test_frames` | violations of RFC 6455, over and over |
| `test_browsers` | pages of wrong origins |

`scene` judges them all. What stands in tests/system about one client that does wrong is not repeated here.

Places for what is to come: `test_credentials` (stolen, expired and foreign tokens; tickets that are played again;
scopes on multiplexed sockets; malformed JWTs: no algorithm, confused keys, `kid` as a path), and in `test_browsers` the
Host of a rebound name.
"""
