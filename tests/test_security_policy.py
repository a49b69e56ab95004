"""SECURITY.md says which tests show a defence: they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
POLICY = (ROOT / "SECURITY.md").read_text()


def test_every_test_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", POLICY))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_attack_is_listed() -> None:
    attacks = (ROOT / "tests/system/attacks").glob("test_*.py")
    assert [path.name for path in attacks if f"tests/system/attacks/{path.name}" not in POLICY] == []
