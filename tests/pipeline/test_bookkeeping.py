"""Which processes keep books."""

import pytest

from pipeline.bookkeeping import wants_books
from pipeline.settings import read_settings

LIMITED = ["--identity-limits.sockets", "1"]
REDIS = ["--redis", "redis://127.0.0.1"]


@pytest.mark.parametrize(
    ("flags", "wants"),
    [
        ([], False),
        (LIMITED, True),
        (["--address-limits.events-per-second", "5"], True),
        (["--api-keys", "keys.toml"], True),
        ([*LIMITED, *REDIS], True),
        ([*LIMITED, *REDIS, "--role", "gateway"], True),
        ([*LIMITED, *REDIS, "--role", "worker"], False),
    ],
)
def test_books_are_kept_where_clients_are_known_or_bounded(flags: list[str], wants: bool) -> None:
    assert wants_books(read_settings(flags)) == wants
