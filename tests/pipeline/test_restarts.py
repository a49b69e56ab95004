"""Pauses before a process is started again."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.restarts import FIRST, MOST, SETTLED, Restarts


def test_pauses_double_up_to_a_bound() -> None:
    restarts = Restarts()
    assert [restarts.pause(1.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert repr(restarts) == "<Restarts 8, 8 in a row>"


def test_a_process_that_lived_long_begins_anew() -> None:
    restarts = Restarts()
    assert [restarts.pause(lived) for lived in (0.0, 0.0, SETTLED, 0.0)] == [0.5, 1.0, 0.5, 1.0]
    assert restarts.count == 4


@given(st.lists(st.floats(0, 1e9), max_size=2000))
def test_a_pause_is_never_out_of_bounds(lives: list[float]) -> None:
    restarts = Restarts()
    assert all(FIRST <= restarts.pause(lived) <= MOST for lived in lives)
