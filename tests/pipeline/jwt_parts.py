"""Keys, tokens of every kind of wrong, and a real server of key sets, for the tests."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from tests.certificates import Certificate

SECRET = "a shared text that nobody can guess, and longer than any hash of sixty-four bytes"  # noqa: S105
MAKERS: dict[str, Any] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def private_key(algorithm: str, name: str = "a") -> Any:
    """Return a key that signs, the same whenever it is asked for by that name."""
    return _made("RS256" if algorithm[:2] in ("RS", "PS") else algorithm, name)


@cache
def _made(algorithm: str, _name: str) -> Any:
    return MAKERS[algorithm]()


def pem(algorithm: str, name: str = "a") -> bytes:
    public: bytes = (
        private_key(algorithm, name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def jwk(algorithm: str, kid: str | None = None, name: str = "a", **more: Any) -> dict[str, Any]:
    """Return a public key as a set has it."""
    public = private_key(algorithm, name).public_key()
    members: dict[str, Any] = json.loads(get_default_algorithms()[algorithm].to_jwk(public))
    members.pop("key_ops", None)
    return members | ({} if kid is None else {"kid": kid}) | more


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**more: Any) -> dict[str, Any]:
    """Return the claims of a good token; None leaves one out."""
    now = int(time.time())
    every = {"sub": "ada", "iat": now, "exp": now + 600, "scope": "openid predict:* watch:a/*", **more}
    return {name: value for name, value in every.items() if value is not None}


def token(algorithm: str = "RS256", kid: str | None = None, name: str = "a", headers: Any = None, **more: Any) -> str:
    """Return a token that PyJWT has signed."""
    key = SECRET if algorithm.startswith("HS") else private_key(algorithm, name)
    return jwt.encode(
        claims(**more), key, algorithm, headers={**({} if kid is None else {"kid": kid}), **(headers or {})}
    )


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header: Any, payload: Any, secret: bytes | None = None, signature: str = "") -> str:
    """Return a token as no library makes it; with a secret it is signed with HMAC-SHA256."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signed = ".".join(map(b64, parts))
    if secret is not None:
        signature = b64(hmac.digest(secret, signed.encode(), hashlib.sha256))
    return f"{signed}.{signature}"


class JwksServer:
    """Answers every GET as it is told to, and counts."""

    def __init__(self, certificate: Certificate | None) -> None:
        self.status = 200
        self.body = b""
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked += 1
                server.paths.append(self.path)
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            self.http.socket = certificate.served().wrap_socket(self.http.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.http.server_address[1]}/keys?v=1"


@contextmanager
def jwks_server(*keys: dict[str, Any], certificate: Certificate | None = None) -> Iterator[JwksServer]:
    """Give a server of a set, and end it."""
    server = JwksServer(certificate)
    server.body = jwks(*keys)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()
