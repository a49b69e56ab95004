"""Listening to what is published through Redis, on a connection of its own that is watched for silence."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pipeline.backbone import BackboneDown, Receive
from pipeline.backoff import Backoff
from pipeline.redis_nodes import RedisNodes

log = logging.getLogger(__name__)


@asynccontextmanager
async def listening(nodes: RedisNodes, channel: str, receive: Receive) -> AsyncIterator[None]:
    """Call `receive` for what comes on a channel while the context is open.

    Raises `BackboneDown` if the first try fails; after a later loss subscribes again, with backoff.
    """
    subscribed = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_listen(nodes, channel, receive, subscribed), name="redis listens")
    try:
        await subscribed
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _listen(nodes: RedisNodes, channel: str, receive: Receive, subscribed: asyncio.Future[None]) -> None:
    backoff = Backoff()
    while True:
        try:
            link = await nodes.of(channel)
            async with link.lease() as connection:
                async with asyncio.timeout(link.timeout):
                    await connection.send_command("SSUBSCRIBE" if nodes.has_sharded_channels else "SUBSCRIBE", channel)
                    await connection.read_response()
                backoff.reset()
                if not subscribed.done():
                    subscribed.set_result(None)
                await _receive(connection, channel, receive, link.patience)
        except BackboneDown as error:
            if not subscribed.done():
                subscribed.set_exception(error)
                return
        await asyncio.sleep(backoff.next())


async def _receive(connection: Any, channel: str, receive: Receive, patience: float) -> None:
    """Pass on what comes. After `patience` seconds of silence Redis is asked for a word, and has as long to say it.

    Returns when the channel is another node's.
    """
    is_asked = False
    while True:
        try:
            async with asyncio.timeout(patience):
                kind, _, *payload = await connection.read_response(disconnect_on_error=False)
        except TimeoutError:
            if is_asked:
                raise
            is_asked = True
            await connection.send_command("PING")
            continue
        is_asked = False
        if kind == b"sunsubscribe":
            return
        if kind in (b"message", b"smessage"):
            try:
                receive(payload[0])
            except Exception:
                log.exception("what came on %s could not be taken", channel)
