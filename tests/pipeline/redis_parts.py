"""Backbones over real Redis servers, for the tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.redis_backbone import RedisBackbone

from .queue_contract import Open


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
