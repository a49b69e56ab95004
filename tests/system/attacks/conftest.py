"""The server that is attacked, and one that is not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.certificates import Certificate

from ..access_parts import Keys
from ..process import running_server
from .scene import Arena

MAX_KEYS: Final = 10_000
ISSUER: Final = "https://issuer.example"
SECRET: Final = "no secret, but as long as one has to be"  # noqa: S105
#: Times are short, so that what is to end by itself does so while the attack lasts.
SETTINGS: Final = (
    *("--header-seconds", "1", "--body-seconds", "1", "--slow-consumer-seconds", "1"),
    *("--max-keys", str(MAX_KEYS)),
)


@pytest.fixture(scope="module")  # and no longer: its neighbours go before what else runs on the machine
def arena(zoo_models: Path) -> Iterator[Arena]:
    """Give a server to attack."""
    arguments = ("--models", str(zoo_models), *SETTINGS)
    with (
        running_server(*arguments) as server,
        running_server(*arguments) as bystander,
        Arena(server, bystander) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def secure_arena(zoo_models: Path, certificate: Certificate) -> Iterator[Arena]:
    """Give one with TLS."""
    arguments, trusted = ("--models", str(zoo_models), *SETTINGS, *certificate.arguments), certificate.trusted()
    with (
        running_server(*arguments, tls=trusted) as server,
        running_server(*arguments, tls=trusted) as bystander,
        Arena(server, bystander, certificate.certificate) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def visitors(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Give the keys of a server that needs them."""
    keys = Keys(tmp_path_factory.mktemp("keys") / "keys.toml", {})
    keys.add("neighbour", "predict:double")
    keys.add("visitor", "predict:double watch:double/*")
    keys.revoke(keys.add("gone", "admin"))
    keys.add("late", "admin", "--expires", "1s")
    return keys


@pytest.fixture(scope="module")
def guarded_arena(zoo_models: Path, visitors: Keys) -> Iterator[Arena]:
    """Give a server that needs credentials."""
    arguments = ("--models", str(zoo_models), *SETTINGS, "--api-keys", str(visitors.file), "--jwt-issuer", ISSUER)
    env = {"WATERSPOUT_JWT_SECRET": SECRET}
    with (
        running_server(*arguments, env=env) as server,
        running_server(*arguments, env=env) as bystander,
        Arena(server, bystander, key=visitors.texts["neighbour"]) as made,
    ):
        yield made
