"""Answers of the Open Inference Protocol: which outputs are asked for and how, and rows as a response."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import UNSET

from pipeline.batching import NEVER
from pipeline.errors import InferenceFailed, InvalidInput
from pipeline.results import BatchResult
from pipeline.tensors import STRING, Array, TensorSpec
from pipeline.v2_messages import BinarySize, InferOutput, InferRequest, InferResponse, Parameters, encode
from pipeline.v2_tensors import BYTES, DATATYPES, Signature, is_binary_only, pack_strings

Outcomes = Sequence[tuple[BatchResult, int]]
Labels = Mapping[str, Sequence[str]]

LONGEST_TIMEOUT: Final = 86_400_000_000  # microseconds: a day


class OutputPlan(NamedTuple):
    """One output of the model as a client wants it; `classes` 0: the tensor itself, else its so many best classes."""

    at: int
    spec: TensorSpec
    is_binary: bool
    classes: int


def plan_outputs(request: InferRequest, signature: Signature, *, is_binary: bool = False) -> list[OutputPlan]:
    """Return the outputs to answer, all of them where none is named.

    `is_binary` is the default of `binary_data_output`. Raises `InvalidInput` for an output or parameter that is wrong.
    """
    if request.parameters:
        is_binary = _flag(request.parameters, "binary_data_output", is_binary, "parameters")
    specs = signature.outputs
    if not request.outputs:
        return [OutputPlan(index, spec, is_binary or is_binary_only(spec.dtype), 0) for index, spec in enumerate(specs)]
    plans: list[OutputPlan] = []
    names = [spec.name for spec in specs]
    for output in request.outputs:
        if output.name not in names:
            raise InvalidInput(f"outputs: {output.name[:100]!r} is no output, expected {', '.join(names)}")
        index = names.index(output.name)
        if any(plan.at == index for plan in plans):
            raise InvalidInput(f"outputs.{output.name}: asked for twice")
        plans.append(_plan(index, specs[index], output.parameters or {}, is_binary))
    return plans


def read_schedule(request: InferRequest) -> tuple[float, int]:
    """Return the seconds within which a request must begin to run, and its priority; infinity and 0 without them.

    Raises `InvalidInput` for a timeout or a priority that is none.
    """
    parameters = request.parameters
    if not parameters:
        return NEVER, 0
    priority = parameters.get("priority", 0)
    if type(priority) is not int or not 0 <= priority < 2**64:
        raise InvalidInput("parameters.priority: expected a whole number from 0")
    timeout = parameters.get("timeout", 0)
    if type(timeout) is not int or not 0 <= timeout <= LONGEST_TIMEOUT:
        raise InvalidInput(f"parameters.timeout: expected 0 to {LONGEST_TIMEOUT} microseconds")
    return timeout / 1e6 or NEVER, priority


def encode_response(
    model: tuple[str, str],
    request_id: str | None,
    plans: Sequence[OutputPlan],
    outcomes: Outcomes,
    *,
    batched: bool,
    labels: Labels,
) -> tuple[bytes, int | None]:
    """Return a response's body, and the length of its JSON where binary data follows that; `model`: name and version.

    Raises `InvalidInput` where the rows of an output do not fit into one tensor.
    """
    outputs, blobs = [], []
    for plan in plans:
        name, dtype = plan.spec.name, plan.spec.dtype
        array = _gather(outcomes, plan.at, name)
        datatype = DATATYPES[dtype.name]
        if plan.classes:
            array, datatype = _classify(array, plan.classes, labels.get(name, ())), BYTES
        shape = list(array.shape if batched else array.shape[1:])
        if plan.is_binary:
            blob = pack_strings(array.ravel().tolist()) if datatype == BYTES else array.tobytes()
            blobs.append(blob)
            outputs.append(InferOutput(name, datatype, shape, BinarySize(len(blob))))
        else:
            outputs.append(InferOutput(name, datatype, shape, UNSET, array.ravel().tolist()))
    try:
        body = encode(InferResponse(*model, outputs, request_id))
    except (TypeError, ValueError) as error:
        raise InferenceFailed(f"the outputs cannot be encoded as JSON: {error}") from error
    return (b"".join((body, *blobs)), len(body)) if blobs else (body, None)


def _plan(index: int, spec: TensorSpec, parameters: Parameters, is_binary: bool) -> OutputPlan:
    path = f"outputs.{spec.name}.parameters"
    if "shared_memory_region" in parameters:
        raise InvalidInput(f"{path}.shared_memory_region: shared memory is not supported")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes < 2**31:
        raise InvalidInput(f"{path}.classification: expected a number of classes")
    if classes and spec.dtype is STRING:
        raise InvalidInput(f"{path}.classification: {spec.name} holds strings, which have no order")
    is_binary = _flag(parameters, "binary_data", is_binary, path)
    return OutputPlan(index, spec, is_binary or (not classes and is_binary_only(spec.dtype)), classes)


def _flag(parameters: Parameters, name: str, default: bool, path: str) -> bool:
    value: Any = parameters.get(name, default)
    if type(value) is not bool:
        raise InvalidInput(f"{path}.{name}: expected true or false")
    return value


def _gather(outcomes: Outcomes, index: int, name: str) -> Array:
    """Return an output of all rows, `[rows, ...]`, without copying where they are neighbours in one run."""
    pieces: list[Array] = []
    at = 0
    while at < len(outcomes):
        result, first = outcomes[at]
        end = at + 1
        while end < len(outcomes) and outcomes[end][0] is result and outcomes[end][1] == first + end - at:
            end += 1
        pieces.append(result.arrays[index][first : first + end - at])
        at = end
    if len(pieces) == 1:
        return pieces[0]
    try:
        return np.concatenate(pieces)
    except ValueError as error:
        raise InvalidInput(f"outputs.{name}: its rows have different shapes, send them one by one") from error


def _classify(array: Array, classes: int, labels: Sequence[str]) -> Array:
    """Return strings `[rows, classes]`, best first: `score:index`, and `:label` where the class has a name."""
    scores = array.reshape(len(array), -1)
    if scores.dtype.kind not in "iu":
        scores = scores.astype(np.float64)
    order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :classes]
    texts = np.empty(order.shape, object)
    for row, best in enumerate(order.tolist()):
        for rank, at in enumerate(best):
            score = scores[row, at]
            text = f"{score:f}:{at}" if scores.dtype.kind == "f" else f"{score}:{at}"
            texts[row, rank] = f"{text}:{labels[at]}" if at < len(labels) else text
    return texts
