"""How the examples reach a server: WebSockets in MessagePack, with a credential where one is set.

WATERSPOUT_CREDENTIAL: an API key or token, for servers that need one. No flag, since other users see those.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

import msgpack
from tornado.httpclient import HTTPError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

VARIABLE: Final = "WATERSPOUT_CREDENTIAL"

_STATUSES: Final = (401, 403)
_CLOSE_CODES: Final = (4500, 4503)


class Refused(Exception):
    """The server does not take the credential, or misses one: to try again is of no use."""


async def connect(url: str) -> WebSocketClientConnection:
    """Open a socket. Raises `Refused`, or `OSError` or `HTTPError` where it may be tried again."""
    credential = os.environ.get(VARIABLE)
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    try:
        return await websocket_connect(HTTPRequest(url, headers=headers), subprotocols=["waterspout.v1.msgpack"])
    except HTTPError as error:
        if error.code in _STATUSES:
            raise _refused(url, str(error)) from error
        raise


async def answers(connection: WebSocketClientConnection) -> AsyncIterator[dict[str, Any]]:
    """Yield what the server answers until the socket is closed. Raises `Refused`."""
    while isinstance(message := await connection.read_message(), bytes):
        answer = msgpack.unpackb(message)
        if "op" not in answer:
            yield answer
    if connection.close_code in _CLOSE_CODES:
        raise _refused(connection.request.url, str(connection.close_reason))


def run(feed: Coroutine[Any, Any, None]) -> None:
    """Run a feed until Ctrl-C; exit with the reason if it is refused."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(feed)
    except ExceptionGroup as group:
        sys.exit(reason_of(group))


def reason_of(group: ExceptionGroup[Exception]) -> str:
    """Return why a feed was refused. Raises the group where it ended for another reason."""
    refused, others = group.split(Refused)
    if refused is None or others is not None:
        raise group
    error: Exception = refused
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _refused(url: str, why: str) -> Refused:
    return Refused(f"{url}: {why}: set {VARIABLE} to an API key or token that may predict with the model")
