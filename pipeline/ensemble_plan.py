"""How the tensors of an ensemble are wired from step to step; checked once, when it is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.ensemble_config import EnsembleScheduling, EnsembleStep
from pipeline.errors import ConfigError
from pipeline.graph_spec import ModelSpec, check_declared, pin_length, sample_spec
from pipeline.model_config import ModelConfig
from pipeline.tensors import Shape, TensorSpec

ENSEMBLE: Final = -1  # in the place of a step: the ensemble's own inputs


class Wire(NamedTuple):
    """What leads into one input of a step's model: output `at` of `step`, or input `at` of the ensemble.

    `spec` is that input's; `shape` is what comes, None where that shows only as it comes.
    """

    step: int
    at: int
    spec: TensorSpec
    shape: Shape | None


class Source(NamedTuple):
    """Where an output of the ensemble comes from: output `at` of `step`."""

    step: int
    at: int


@dataclass(frozen=True, slots=True)
class EnsemblePlan:
    """`spec` of the whole; the wires into each step, in the order of its model's inputs; the sources of the outputs.

    There is no wire (None) into an optional input that the ensemble makes no use of.
    `waits` says for how many other steps each step waits, `follows` which steps wait for it.
    """

    spec: ModelSpec
    wires: tuple[tuple[Wire | None, ...], ...]
    sources: tuple[Source, ...]
    waits: tuple[int, ...]
    follows: tuple[tuple[int, ...], ...]

    @property
    def firsts(self) -> tuple[int, ...]:
        """The steps that wait for no other."""
        return tuple(step for step, count in enumerate(self.waits) if not count)


def plan_ensemble(config: ModelConfig, specs: Sequence[ModelSpec]) -> EnsemblePlan:
    """Wire the steps of a configuration, whose models have these specs. Raises `ConfigError` that names the key."""
    assert config.ensemble_scheduling is not None
    wiring = _Wiring(config.ensemble_scheduling, specs)
    inputs = wiring.inputs([tensor.name for tensor in config.input])
    outputs = wiring.outputs([tensor.name for tensor in config.output])
    check_declared("input", config.input, inputs)
    if needed := [tensor.name for tensor in inputs if tensor.name in config.optional_inputs and not tensor.optional]:
        raise ConfigError(f"input.{needed[0]}.optional: a step cannot do without it")
    check_declared("output", config.output, outputs)
    batched = any(spec.batched for spec in specs)
    if config.max_batch_size is not None and bool(config.max_batch_size) != batched:
        models = "models of the steps have a batch dimension" if batched else "no model of a step has a batch dimension"
        raise ConfigError(f"max_batch_size: {config.max_batch_size}, but {models}")
    spec = ModelSpec(inputs, outputs, batched, (batched,) * len(outputs), stackable=True)
    if config.window is not None:
        sample_spec(spec, config)
        spec = pin_length(spec, config.window.length)
    return EnsemblePlan(
        spec,
        wiring.wires(spec.inputs),
        tuple(wiring.made[tensor.name].source for tensor in outputs),
        *wiring.order(),
    )


class _Made(NamedTuple):
    """A tensor of the ensemble that a step makes."""

    source: Source
    spec: TensorSpec


class _Use(NamedTuple):
    """A tensor of the ensemble that an input of a step's model takes; `key` is where the configuration says so."""

    step: int
    key: str
    spec: TensorSpec


@dataclass(slots=True)
class _Wiring:
    scheduling: EnsembleScheduling
    specs: Sequence[ModelSpec]
    made: dict[str, _Made] = field(default_factory=dict)
    used: dict[str, list[_Use]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, (step, spec) in enumerate(zip(self.scheduling.step, self.specs, strict=True)):
            self._note_outputs(number, step, spec)
        for number, (step, spec) in enumerate(zip(self.scheduling.step, self.specs, strict=True)):
            self._note_inputs(number, step, spec)

    def inputs(self, declared: Sequence[str]) -> tuple[TensorSpec, ...]:
        """Return the ensemble's inputs: what no step makes, in the declared order or that of their use."""
        names = [name for name in self.used if name not in self.made]
        if declared:
            if unknown := [name for name in names if name not in declared]:
                key = self.used[unknown[0]][0].key
                raise ConfigError(f"{key}: {unknown[0]!r} is neither an input of the ensemble nor made by a step")
            names = [*(name for name in declared if name in names)]
        return tuple(self._common(name) for name in names)

    def outputs(self, declared: Sequence[str]) -> tuple[TensorSpec, ...]:
        """Return the ensemble's outputs: what is declared, or else what no step takes."""
        if unknown := [name for name in declared if name not in self.made]:
            raise ConfigError(f"output.{unknown[0]}: no step makes it, expected one of {list(self.made)}")
        names = declared or [name for name in self.made if name not in self.used]
        if not names:
            raise ConfigError("ensemble_scheduling: every tensor that is made goes into a step, declare an [[output]]")
        needed = {self.made[name].source.step for name in names}
        needed |= {made.source.step for name, made in self.made.items() if name in self.used}
        if idle := [number for number in range(len(self.specs)) if number not in needed]:
            raise ConfigError(f"{_path(idle[0])}: nothing takes what it makes")
        return tuple(TensorSpec(name, self.made[name].spec.dtype, self.made[name].spec.shape) for name in names)

    def wires(self, inputs: Sequence[TensorSpec]) -> tuple[tuple[Wire | None, ...], ...]:
        """Return the wires into each step, in the order of its model's inputs."""
        own = {tensor.name: _Made(Source(ENSEMBLE, at), tensor) for at, tensor in enumerate(inputs)}
        wires = []
        for step, spec in zip(self.scheduling.step, self.specs, strict=True):
            into: list[Wire | None] = []
            for tensor in spec.inputs:
                name = step.input_map.get(tensor.name)
                if name is None:
                    into.append(None)
                    continue
                made = self.made.get(name) or own[name]
                shape = tuple(n for n in made.spec.shape if n is not None) if made.spec.is_static else None
                into.append(Wire(*made.source, tensor, shape))
            wires.append(tuple(into))
        return tuple(wires)

    def order(self) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """Return for how many steps each step waits, and which wait for it. Raises where steps wait in a circle."""
        before = [
            {self.made[name].source.step for name in step.input_map.values() if name in self.made}
            for step in self.scheduling.step
        ]
        done: set[int] = set()
        while ready := [step for step, needs in enumerate(before) if step not in done and needs <= done]:
            done.update(ready)
        if circle := [step for step in range(len(before)) if step not in done]:
            models = ", ".join(str(self.scheduling.step[step]) for step in circle)
            raise ConfigError(f"{_path(circle[0])}: steps wait for one another, among them {models}")
        follows = tuple(
            tuple(step for step, needs in enumerate(before) if this in needs) for this in range(len(before))
        )
        return tuple(map(len, before)), follows

    def _note_outputs(self, number: int, step: EnsembleStep, spec: ModelSpec) -> None:
        tensors = {tensor.name: (at, tensor) for at, tensor in enumerate(spec.outputs)}
        for theirs, name in step.output_map.items():
            key = f"{_path(number)}.output_map.{theirs}"
            if theirs not in tensors:
                raise ConfigError(f"{key}: {step} has no such output, expected one of {list(tensors)}")
            if name in self.made:
                raise ConfigError(f"{key}: {name!r} is made by step[{self.made[name].source.step}] too")
            at, tensor = tensors[theirs]
            self.made[name] = _Made(Source(number, at), tensor)

    def _note_inputs(self, number: int, step: EnsembleStep, spec: ModelSpec) -> None:
        tensors = {tensor.name: tensor for tensor in spec.inputs}
        path = f"{_path(number)}.input_map"
        if unknown := [name for name in step.input_map if name not in tensors]:
            raise ConfigError(f"{path}.{unknown[0]}: {step} has no such input, expected one of {list(tensors)}")
        for theirs, tensor in tensors.items():
            if theirs not in step.input_map:
                if tensor.optional:
                    continue
                raise ConfigError(f"{path}.{theirs}: missing, {step} takes {tensor}")
            name = step.input_map[theirs]
            use = _Use(number, f"{path}.{theirs}", tensor)
            if name in self.made:
                _check_fit(use, name, self.made[name].spec)
            self.used.setdefault(name, []).append(use)

    def _common(self, name: str) -> TensorSpec:
        """Return the spec of an input of the ensemble, which all steps that take it agree on.

        It may be left out where each of them can do without.
        """
        first, *others = self.used[name]
        shape = first.spec.shape
        for use in others:
            _check_fit(use, name, TensorSpec(name, first.spec.dtype, shape))
            shape = tuple(a if a is not None else b for a, b in zip(shape, use.spec.shape, strict=True))
        return TensorSpec(
            name,
            first.spec.dtype,
            shape,
            optional=all(use.spec.optional for use in self.used[name]),
            initializer=all(use.spec.initializer for use in self.used[name]),
        )


def _check_fit(use: _Use, name: str, source: TensorSpec) -> None:
    """Raise `ConfigError` where a tensor never fits the input that it is led to."""
    pairs = zip(source.shape, use.spec.shape, strict=False)
    fits = len(source.shape) == len(use.spec.shape) and all(a is None or b is None or a == b for a, b in pairs)
    if not fits or source.dtype is not use.spec.dtype:
        raise ConfigError(f"{use.key}: expected {use.spec}, but {name!r} is {source}")


def _path(step: int) -> str:
    return f"ensemble_scheduling.step[{step}]"
