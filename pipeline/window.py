"""Sliding windows by count over the samples of one key."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """A row is the last `length` samples; the next row is due `hop` samples later."""

    length: int
    hop: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError("length: expected at least 1 sample")
        if self.hop < 1:
            raise ValueError("hop: expected at least 1 sample")


class Window:
    """The samples of one key that a later row still needs.

    Holds fewer than `length + hop` samples, so its memory is bounded by the spec and the largest chunk.
    """

    __slots__ = ("_buffer", "_sample_bytes", "_skip", "_spec")

    def __init__(self, spec: WindowSpec, sample_bytes: int) -> None:
        self._spec = spec
        self._sample_bytes = sample_bytes
        self._buffer = bytearray()
        self._skip = 0  # samples to drop before the next row begins (hop > length)

    def __len__(self) -> int:
        """Return the number of samples held."""
        return len(self._buffer) // self._sample_bytes

    @property
    def is_blank(self) -> bool:
        """Whether the window is as new: it holds no samples, and has none to skip."""
        return not self._buffer and not self._skip

    def rows_after(self, count: int) -> int:
        """Return how many rows `push` would complete with `count` more samples. Changes nothing."""
        surplus = len(self) + count - self._skip - self._spec.length
        return surplus // self._spec.hop + 1 if surplus >= 0 else 0

    def push(self, samples: bytes) -> list[bytes]:
        """Append samples (bytes, C-order `[k, ...]`); return the rows `[length, ...]` that they complete."""
        buffer, size = self._buffer, self._sample_bytes
        buffer += samples
        if self._skip:
            skipped = min(self._skip, len(buffer) // size)
            del buffer[: skipped * size]
            self._skip -= skipped
        row, hop = self._spec.length * size, self._spec.hop * size
        rows = []
        start = 0
        while len(buffer) - start >= row:
            rows.append(bytes(buffer[start : start + row]))
            start += hop
        if start:
            overshoot = max(0, start - len(buffer))
            self._skip = overshoot // size
            del buffer[:start]
        return rows

    def clear(self) -> None:
        """Forget all samples: the next row needs `length` new ones."""
        self._buffer.clear()
        self._skip = 0
