"""Why a feed ended, as its user is told."""

import pytest

from examples.device import Refused, reason_of


def test_the_reason_is_that_of_the_first_that_was_refused() -> None:
    nested = ExceptionGroup("feeds", [ExceptionGroup("watches", [Refused("no key"), Refused("no key")])])
    assert reason_of(nested) == "no key"


def test_other_failures_stay_failures() -> None:
    for group in (ExceptionGroup("", [ValueError()]), ExceptionGroup("", [Refused(""), ValueError()])):
        with pytest.raises(ExceptionGroup) as caught:
            reason_of(group)
        assert caught.value is group
