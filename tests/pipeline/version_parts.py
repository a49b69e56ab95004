"""Versions that answer with their own number, and what repositories and clients make of them."""

import asyncio
from pathlib import Path
from typing import Any

from pipeline.repository import Repository
from tests import onnx_models as onnx
from tests.pipeline.session_parts import Client

ALL = "[version_policy.all]\n"


def put_constant(root: Path, version: str, name: str = "m") -> Path:
    """Put a version that answers any number with its own."""
    proto = onnx.gemm([[0.0]], [float(version)])
    return onnx.save(proto, root / name / version / "model.onnx")


def configure(root: Path, config: str, name: str = "m") -> None:
    (root / name / "config.toml").write_text(config)


async def refreshed(models: Repository) -> None:
    """Refresh until everything is at rest, and let what was replaced be retired."""
    while not await models.refresh():
        pass
    await models.drained()
    await asyncio.sleep(0)


async def serving(models: Repository, version: str | None = None) -> float:
    """Return what a new client is answered."""
    client = Client(models.get("m", version), served=models, version=version)
    came = asyncio.Event()
    client.outlet.on_send = came.set
    client.send([1])
    await came.wait()
    ((value,),) = values(client)
    return float(value)


def values(client: Client) -> list[Any]:
    """Return the outputs that came since the last call; a model has but one."""
    answers = client.predictions()
    assert all(isinstance(answer.outputs, dict) for answer in answers)
    return [output for answer in answers for output in answer.outputs.values()]  # type: ignore[union-attr]


def states(models: Repository) -> dict[str, str]:
    return {f"{info.name}/{info.version}": info.state for info in models.index()}
