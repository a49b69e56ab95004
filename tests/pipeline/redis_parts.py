"""Backbones over real Redis servers, for the tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from pipeline.backbone import BackboneDown
from pipeline.redis_backbone import RedisBackbone

from .queue_contract import Open

T = TypeVar("T")


@asynccontextmanager
async def backbone_at(url: str, prefix: str = "ws", patience: float = 5.0) -> AsyncIterator[RedisBackbone]:
    """Give a backbone, and close it."""
    backbone = RedisBackbone(url, prefix, timeout=patience)
    try:
        yield backbone
    finally:
        await backbone.close()


def opener(url: str) -> Open:
    """Return what opens backbones over one server."""
    return lambda: backbone_at(url)


async def succeeded(call: Callable[[], Awaitable[T]]) -> T:
    """Call again until it succeeds, as all do who have work to do."""
    while True:
        try:
            return await call()
        except BackboneDown:
            await asyncio.sleep(0.02)


async def heard_again(backbone: RedisBackbone, heard: "asyncio.Queue[bytes]") -> None:
    """Publish on the channel c until it is heard."""
    while True:
        try:
            await backbone.publish("c", [b"after"])
            while await asyncio.wait_for(heard.get(), 0.1) != b"after":
                pass
        except (BackboneDown, TimeoutError):
            continue
        else:
            return
