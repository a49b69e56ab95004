"""Sliding windows against the plainest model there is: a list of all samples that ever came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.window import Window, WindowSpec

SAMPLE_BYTES = 3

SPECS = st.builds(WindowSpec, st.integers(1, 7), st.integers(1, 12))
CHUNKS = st.lists(st.integers(0, 20), max_size=12)


def samples(start: int, count: int) -> bytes:
    """Return samples that tell their number."""
    return b"".join(number.to_bytes(SAMPLE_BYTES) for number in range(start, start + count))


class ModelWindow:
    """What a window promises, without any bound on its memory."""

    def __init__(self, spec: WindowSpec) -> None:
        self.spec = spec
        self.start = 0  # where the next row begins
        self.count = 0

    def push(self, count: int) -> list[bytes]:
        self.count += count
        rows = []
        while self.start + self.spec.length <= self.count:
            rows.append(samples(self.start, self.spec.length))
            self.start += self.spec.hop
        return rows

    @property
    def still_needed(self) -> int:
        return max(0, self.count - self.start)


@given(SPECS, CHUNKS)
def test_every_chunking_gives_the_rows_of_the_whole(spec: WindowSpec, chunks: list[int]) -> None:
    window, model = Window(spec, SAMPLE_BYTES), ModelWindow(spec)
    for chunk in chunks:
        octets = samples(model.count, chunk)
        held = len(window)
        expected = window.rows_after(chunk)
        assert (len(window), window.rows_after(chunk)) == (held, expected), "rows_after changed something"
        rows = window.push(octets)
        assert rows == model.push(chunk)
        assert len(rows) == expected
        assert len(window) == model.still_needed < spec.length
        assert window.is_blank == (model.start == model.count)


@pytest.mark.parametrize("length", range(1, 6))
@pytest.mark.parametrize("hop", range(1, 8))
def test_samples_one_by_one_complete_a_row_each_hop(length: int, hop: int) -> None:
    window = Window(WindowSpec(length, hop), 1)
    rows = {at: window.push(bytes([at])) for at in range(40)}
    due = range(length - 1, 40, hop)
    assert rows == {at: [bytes(range(at + 1 - length, at + 1))] if at in due else [] for at in range(40)}


@given(SPECS, CHUNKS, CHUNKS)
def test_a_cleared_window_begins_anew(spec: WindowSpec, before: list[int], after: list[int]) -> None:
    used, fresh = Window(spec, SAMPLE_BYTES), Window(spec, SAMPLE_BYTES)
    for chunk in before:
        used.push(samples(0, chunk))
    used.clear()
    assert len(used) == 0
    assert used.is_blank
    for chunk in after:
        octets = samples(100, chunk)
        assert used.rows_after(chunk) == fresh.rows_after(chunk)
        assert used.push(octets) == fresh.push(octets)


@given(SPECS)
def test_rows_do_not_change_when_more_samples_come(spec: WindowSpec) -> None:
    window = Window(spec, SAMPLE_BYTES)
    rows = window.push(samples(0, 3 * spec.length))
    copies = [bytes(row) for row in rows]
    window.push(samples(1000, 50))
    window.clear()
    assert rows == copies


@pytest.mark.parametrize(
    ("length", "hop", "message"),
    [(0, 1, "length: expected at least 1 sample"), (1, 0, "hop: expected at least 1 sample"), (-1, -1, "length: .*")],
)
def test_a_window_has_a_sample_at_least_and_moves_by_one_at_least(length: int, hop: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        WindowSpec(length, hop)
