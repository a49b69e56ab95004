"""In which order and at what pace sockets are sent away."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.farewell import LAST_WORDS, RETURNS_PER_SECOND, part, seconds_to_part
from pipeline.errors import CloseCode

TOLERANCE = 0.05  # of timers, in seconds


class Leaving:
    """A socket that notes when it is told and closed; it is idle but for `busy_seconds` after it was told."""

    def __init__(self, busy_seconds: float = 0.0) -> None:
        self._busy_seconds = busy_seconds
        self.told_at: list[float] = []
        self.closed_at: list[float] = []
        self.code = 0

    @property
    def is_idle(self) -> bool:
        now = asyncio.get_running_loop().time()
        return bool(self.told_at) and now >= self.told_at[0] + self._busy_seconds

    def go_away(self, reason: str) -> None:
        assert reason == "bye"
        self.told_at.append(asyncio.get_running_loop().time())

    def close(self, code: int, reason: str) -> None:
        assert reason == "bye"
        self.code = code
        self.closed_at.append(asyncio.get_running_loop().time())


@given(st.integers(0, 1_000_000), st.floats(0.001, 86_400))
def test_all_are_told_in_half_of_the_time_and_no_faster_than_others_can_take_them(sockets: int, seconds: float) -> None:
    spread = seconds_to_part(sockets, seconds)
    assert 0 <= spread <= seconds / 2
    assert spread == seconds / 2 or sockets == pytest.approx(spread * RETURNS_PER_SECOND)


@pytest.mark.parametrize(("sockets", "seconds"), [(0, 0.0), (1, 0.0), (1, 0.002), (7, 0.3), (500, 0.5)])
async def test_each_is_told_once_and_closed_once_after_its_last_words(sockets: int, seconds: float) -> None:
    leaving = [Leaving() for _ in range(sockets)]
    started = asyncio.get_running_loop().time()
    await part(leaving, seconds, "bye")
    for socket in leaving:
        (told,), (closed,) = socket.told_at, socket.closed_at
        assert closed - told >= LAST_WORDS - 1e-6
        assert told - started <= seconds + TOLERANCE + 0.1 * seconds
        assert socket.code == CloseCode.GOING_AWAY


async def test_they_are_told_evenly() -> None:
    leaving = [Leaving() for _ in range(100)]
    started = asyncio.get_running_loop().time()
    await part(leaving, 0.5, "bye")
    at = [socket.told_at[0] - started for socket in leaving]
    assert at == sorted(at)
    assert sum(moment < 0.25 for moment in at) <= 60
    assert at[-1] >= 0.4


async def test_one_that_is_busy_holds_no_other_up() -> None:
    idle, busy = Leaving(), Leaving(0.4)
    await part([busy, idle], 0.0, "bye")
    assert idle.closed_at[0] - idle.told_at[0] < 0.3
    assert busy.closed_at[0] - busy.told_at[0] >= 0.4
