"""When a rule holds: the numbers and labels of a batch against its bounds, all rows at once."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.alert_config import AlertRule
from pipeline.results import BatchResult
from pipeline.tensors import Array, TensorSpec

Number = int | float


class Condition:
    """One rule over the rows of `output`, the place of the model's output that it is about.

    Numbers are compared as they are, in float64 or, for integers, exactly; NaN is neither above nor below anything.
    """

    def __init__(self, rule: AlertRule, output: int, tensor: TensorSpec) -> None:
        self.output = output
        self._name = tensor.name
        self._index = rule.index
        self._wanted = frozenset(rule.label) if rule.label else None
        self._foreign = tensor.dtype.foreign
        whole = tensor.dtype.numpy.kind in "biu"
        above, below = rule.above, rule.below
        self._above: Number | None = above if above is None or not whole else math.floor(above)
        self._below: Number | None = below if below is None or not whole else math.ceil(below)

    def labels(self, result: BatchResult) -> Sequence[str | None] | None:
        """Return the label of this output in each row, where it has labels."""
        labels = result.labels
        if labels and isinstance(labels[0], dict):
            return [by_output.get(self._name) for by_output in labels]
        return labels

    def held(self, array: Array, labels: Sequence[str | None] | None) -> Iterable[tuple[int, Number | None]]:
        """Return the rows for which the rule holds, each with the number that is to be told.

        `array` is the output `[rows, ...]`.
        """
        numbers = self._plain(array.reshape(len(array), -1))
        if self._wanted is None:
            return self._measured(range(len(numbers)), numbers)
        chosen = [] if labels is None else [row for row, label in enumerate(labels) if label in self._wanted]
        if not chosen:
            return ()
        if array.dtype.kind in "iu" and numbers.shape[1] == 1 and self._index is None:  # the number of a class
            return () if self._has_bounds else ((row, None) for row in chosen)
        scores = numbers[chosen]
        predicted = scores[np.arange(len(scores)), np.argmax(scores, axis=1)]
        if np.isnan(predicted).any():
            known = ~np.isnan(predicted)
            chosen, scores, predicted = np.array(chosen)[known].tolist(), scores[known], predicted[known]
        return self._measured(chosen, scores if self._index is not None else predicted[:, None])

    @property
    def _has_bounds(self) -> bool:
        return self._above is not None or self._below is not None

    def _measured(self, rows: Sequence[int], numbers: Array) -> Iterable[tuple[int, Number]]:
        """Return those of `rows`, whose numbers are `[rows, elements]`, in which one is within the bounds, with that.

        Of several that are it is the largest, or where there is only a `below` the smallest.
        """
        if self._index is not None:
            numbers = numbers[:, self._index : self._index + 1]
        if not numbers.size:
            return ()
        if self._above is None and self._below is not None:
            values = _wide(np.fmin.reduce(numbers, axis=1))
            fits = values < self._below
        elif self._above is not None and self._below is not None:
            wide = _wide(numbers)
            within = (wide > self._above) & (wide < self._below)
            values = np.max(wide, axis=1, where=within, initial=_least(wide))
            fits = np.logical_or.reduce(within, axis=1)
        else:
            values = _wide(np.fmax.reduce(numbers, axis=1))
            fits = np.ones(len(values), bool) if self._above is None else values > self._above
        return ((rows[at], values[at].item()) for at in fits.nonzero()[0].tolist())

    def _plain(self, numbers: Array) -> Array:
        """Return numbers that numpy knows, with quiet NaNs (a signalling one beats numbers); booleans are 0 and 1."""
        if self._foreign:
            numbers = numbers.astype(np.float32)
        if numbers.dtype.kind == "f" and (unknown := np.isnan(numbers)).any():
            return np.where(unknown, numbers.dtype.type(np.nan), numbers)
        return numbers.view(np.uint8) if numbers.dtype == np.bool_ else numbers


def _wide(numbers: Array) -> Array:
    return numbers.astype(np.float64) if numbers.dtype.kind == "f" else numbers


def _least(numbers: Array) -> Number:
    return -np.inf if numbers.dtype.kind == "f" else int(np.iinfo(numbers.dtype).min)
