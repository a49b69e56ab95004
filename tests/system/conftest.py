"""Servers for the tests: two that live as long as the session, and others with special settings."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Certificate, make_certificate

from .access_parts import Keys
from .graphs import double, write_model, write_zoo
from .process import Server, running_server
from .v2_models import write_broken_model, write_models

StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def zoo_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the tiny models of `graphs`."""
    root = tmp_path_factory.mktemp("zoo")
    write_zoo(root)
    return root


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make a certificate that signs itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def _shipped() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def _zoo(zoo_models: Path) -> Iterator[Server]:
    with running_server("--models", str(zoo_models)) as server:
        yield server


@pytest.fixture(scope="session")
def _tensors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("tensors")
    write_models(root)
    write_broken_model(root)
    with running_server("--models", str(root), allowed="model broken is not served") as server:
        server.check_log("model broken is not served")
        yield server


@pytest.fixture
def shipped(_shipped: Server) -> Iterator[Server]:
    """Give the server with the models that the project ships."""
    yield _shipped
    _shipped.check_log()


@pytest.fixture
def zoo(_zoo: Server) -> Iterator[Server]:
    """Give a server with the tiny models."""
    yield _zoo
    _zoo.check_log()


@pytest.fixture
def tensors(_tensors: Server) -> Iterator[Server]:
    """Give a server with a model per kind of tensor, and one that is broken."""
    yield _tensors
    _tensors.check_log()


@pytest.fixture
def start_server(zoo_models: Path) -> Iterator[StartServer]:
    """Give a way to start servers with arguments; on the tiny models unless they say otherwise."""
    with ExitStack() as stack:

        def start(*arguments: str, **options: Any) -> Server:
            models = () if "--models" in arguments else ("--models", str(zoo_models))
            return stack.enter_context(running_server(*models, *arguments, **options))

        yield start


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    keys = Keys(tmp_path_factory.mktemp("keys") / "keys.toml", {})
    keys.add("adder", "predict:add watch:add/*")
    keys.add("all", "predict:* watch:*")
    keys.add("root", "admin")
    keys.add("nobody", "predict:none")
    return keys


@pytest.fixture(scope="module")
def guarded_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_model(root, "add", double())
    write_model(root, "norm", double())
    return root


@pytest.fixture(scope="module")
def server(keys: Keys, guarded_models: Path) -> Iterator[Server]:
    with running_server("--models", str(guarded_models), "--api-keys", str(keys.file)) as server:
        yield server
