"""`[[alert]]` of a configuration: rules about what a model says, and whether they fit the model."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Final
from urllib.parse import urlsplit

import numpy as np
from msgspec import Meta, Struct, field

from pipeline.errors import ConfigError
from pipeline.tensors import STRING, TensorSpec

MAX_RULES: Final = 64
MAX_COOLDOWN_SECONDS: Final = 2_592_000  # 30 days

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class AlertRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: an alert is due when all that it says has held for `count` predictions of a key in a row.

    `output` may be left out where the model has one. A number of the output must be `above` and `below` what they say:
    the one at `index` of the flat output; without `index` the score of the predicted label where the rule has `label`,
    else any. `label` lists the labels of which the predicted one must be one. `webhook` is told of each alert.
    """

    name: Name | None = None
    output: Name | None = None
    index: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    above: float | None = None
    below: float | None = None
    label: Annotated[list[str], Meta(min_length=1)] | None = None
    count: Annotated[int, Meta(ge=1, le=1_000_000)] = field(default=1, name="for")
    cooldown_seconds: Annotated[float, Meta(ge=0, le=MAX_COOLDOWN_SECONDS)] = 0.0
    webhook: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None

    def __post_init__(self) -> None:
        for key in ("above", "below"):
            number = getattr(self, key)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{key}: expected a finite number, got {number}")
        if not (self.has_bounds or self.label):
            raise ValueError("above: missing, expected at least one of above, below and label")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(
                f"above: {self.above} and below {self.below} never hold together, for either use two rules"
            )
        if self.index is not None and not self.has_bounds:
            raise ValueError("index: needs above or below")
        if self.label and len(set(self.label)) < len(self.label):
            raise ValueError("label: expected each label once")
        if self.webhook is not None:
            _check_url(self.webhook)

    @property
    def has_bounds(self) -> bool:
        """Whether a number is looked at."""
        return self.above is not None or self.below is not None


def rule_names(rules: Sequence[AlertRule]) -> list[str]:
    """Return the name of each rule; those without one are `alert-1` and so on, by their place from 1."""
    return [rule.name or f"alert-{number}" for number, rule in enumerate(rules, 1)]


def check_names(rules: Sequence[AlertRule]) -> None:
    """Raise `ValueError` where two rules have the same name."""
    names = rule_names(rules)
    for at, name in enumerate(names):
        if name in names[:at]:
            raise ValueError(f"alert[{at}].name: {name!r} is the name of alert[{names.index(name)}] too")


def output_of(rule: AlertRule, outputs: Sequence[TensorSpec]) -> int:
    """Return the place of the output that a rule is about. Raises `ConfigError` that begins with the key."""
    names = [tensor.name for tensor in outputs]
    if rule.output is None:
        if len(names) != 1:
            raise ConfigError(f"output: missing, the model has several, expected one of {names}")
        return 0
    if rule.output not in names:
        raise ConfigError(f"output: the model has no output {rule.output!r}, expected one of {names}")
    return names.index(rule.output)


def check_alerts(
    rules: Sequence[AlertRule], outputs: Sequence[TensorSpec], labels: Mapping[str, Sequence[str]]
) -> None:
    """Raise `ConfigError` that begins with the key where a rule does not fit what the model gives."""
    for at, rule in enumerate(rules):
        try:
            tensor = outputs[output_of(rule, outputs)]
            _check_label(rule, tensor, labels.get(tensor.name))
            if rule.has_bounds:
                _check_bounds(rule, tensor)
        except ConfigError as error:
            raise ConfigError(f"alert[{at}].{error}") from error


def is_class_number(tensor: TensorSpec) -> bool:
    """Whether each row of an output is one integer, which names a class where there are labels."""
    return tensor.size == 1 and tensor.dtype.numpy.kind in "iu"


def _check_label(rule: AlertRule, tensor: TensorSpec, names: Sequence[str] | None) -> None:
    if rule.label is None:
        return
    if not names:
        raise ConfigError(f"label: the output {tensor.name!r} has no labels")
    if unknown := [label for label in rule.label if label not in names]:
        raise ConfigError(f"label: no label {unknown[0]!r}, expected some of {list(names)}")
    if rule.has_bounds and rule.index is None and is_class_number(tensor):
        key = "above" if rule.above is not None else "below"
        raise ConfigError(f"{key}: the label of {tensor.name!r} has no score, the output is the number of a class")


def _check_bounds(rule: AlertRule, tensor: TensorSpec) -> None:
    key, bound = ("above", rule.above) if rule.above is not None else ("below", rule.below)
    if tensor.dtype is STRING:
        raise ConfigError(f"{key}: the output {tensor.name!r} is strings")
    if tensor.size == 0:
        raise ConfigError(f"{key}: the output {tensor.name!r} has no elements")
    if rule.index is not None and 0 <= tensor.size <= rule.index:
        raise ConfigError(f"index: expected 0 to {tensor.size - 1} for {tensor.name!r}, got {rule.index}")
    kind = tensor.dtype.numpy.kind
    if kind not in "biu":
        return
    least, most = (0, 1) if kind == "b" else (np.iinfo(tensor.dtype.numpy).min, np.iinfo(tensor.dtype.numpy).max)
    if rule.above is not None and rule.above >= most:
        raise ConfigError(f"above: {bound} is never passed, {tensor.name!r} is {tensor.dtype.name}")
    if rule.below is not None and rule.below <= least:
        raise ConfigError(f"below: nothing is below {rule.below}, {tensor.name!r} is {tensor.dtype.name}")


def _check_url(url: str) -> None:
    """Raise `ValueError` that does not repeat the URL: whoever knows it may call it."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("webhook: expected an http or https URL in ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("webhook: expected an http or https URL with a valid host and port") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("webhook: expected an http or https URL with a host")
    if "@" in parts.netloc:
        raise ValueError("webhook: expected no user or password in the URL")
