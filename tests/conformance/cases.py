"""Tables of test cases with readable ids."""

from collections.abc import Mapping

import pytest

from .wire import TOGETHER


def cases(names: str, table: Mapping[str, object]) -> pytest.MarkDecorator:
    """Run a test once for each entry of a table whose keys are the ids."""
    return pytest.mark.parametrize(names, list(table.values()), ids=list(table))


each_chop = cases("chop", {"one-write": TOGETHER, "frame-wise": None, "octet-wise": 1})
"""Run a test for each way to cut its frames into TCP writes."""
