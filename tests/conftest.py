"""What all tests share: how hard Hypothesis tries, and what tests are called.

`--hypothesis-profile=thorough` tries harder.
"""

from collections import Counter

import pytest
from hypothesis import settings

LONGEST_ID = 80  # characters

settings.register_profile("modest", max_examples=100, deadline=None)
settings.register_profile("thorough", max_examples=5000, deadline=None)
settings.load_profile("modest")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long values by their parameter: some are made anew in each process, and all must name a test alike."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files of few and long tests first: where files run beside each other, the short ones fill up the end."""
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: count[item.path])
