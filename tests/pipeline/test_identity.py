"""Identities: until when they are valid, and what a name may be."""

from math import inf

import pytest

from pipeline.identity import OPEN_IDENTITY, Identity
from pipeline.scopes import Scopes

SCOPES = Scopes.parse(["predict:*"])


def test_an_identity_is_valid_until_it_expires() -> None:
    identity = Identity("ada", SCOPES, 100.0, "token")
    assert identity.is_valid(99.9)
    assert not identity.is_valid(100.0)


def test_one_that_is_revoked_is_not_valid() -> None:
    identity = Identity("ada", SCOPES, kind="key", key_id="ABC")
    assert identity.is_valid(1e12)
    identity.is_revoked = True
    assert not identity.is_valid(0.0)
    assert repr(identity) == "<Identity 'ada' key revoked>"


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_one_ends_with_its_parent(end: str) -> None:
    key = Identity("ada", SCOPES, 100.0, "key")
    ticket = Identity("ada", SCOPES, inf, "ticket", parent=key)
    assert ticket.is_valid(50.0)
    key.is_revoked = end == "revoked"
    assert not ticket.is_valid(100.0 if end == "expired" else 50.0)


def test_where_nothing_is_configured_everybody_may_do_everything() -> None:
    assert OPEN_IDENTITY.is_valid(1e12)
    assert OPEN_IDENTITY.kind == "open"
    assert OPEN_IDENTITY.scopes.is_admin


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31m", "x" * 129, "a\u202eb"])
def test_a_name_is_short_and_printable(name: str) -> None:
    with pytest.raises(ValueError, match="name: expected"):
        Identity(name, SCOPES)
    assert Identity("Zoë " + "x" * 124, SCOPES).name.startswith("Zoë")
