"""The vocabulary of the Open Inference Protocol (KServe v2 with Triton's extensions), one struct per message.

Unknown fields are ignored: clients send some that are their own. Shapes have the batch dimension first where the model
has one.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from pipeline.codec import explain

Size = Annotated[int, Meta(ge=0, lt=2**31)]
Count = Annotated[int, Meta(ge=0)]
Parameters = dict[str, Any]

T = TypeVar("T")


class InferInput(Struct, gc=False):
    """One tensor of a request: `data` is a flat or nested list, or absent where `binary_data_size` bytes hold it."""

    name: str
    shape: list[Size]
    datatype: str
    parameters: Parameters | None = None
    data: Any = UNSET


class RequestedOutput(Struct):
    """One output to be answered. Parameters: `binary_data`, `classification`."""

    name: str
    parameters: Parameters | None = None


class InferRequest(Struct, gc=False):
    """Rows for a model. Parameters: `timeout` (microseconds), `priority`, `binary_data_output`."""

    inputs: list[InferInput]
    id: str | None = None
    outputs: list[RequestedOutput] | None = None
    parameters: Parameters | None = None


class BinarySize(Struct):
    """Where the elements of an output are: the next so many bytes after the JSON."""

    binary_data_size: Count


class InferOutput(Struct, omit_defaults=True, gc=False):
    """One tensor of an answer: `data` is a flat list, or absent where the elements follow as bytes."""

    name: str
    datatype: str
    shape: list[int]
    parameters: BinarySize | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET


class InferResponse(Struct, omit_defaults=True, gc=False):
    """The answer to an `InferRequest`; its `id` comes back."""

    model_name: str
    model_version: str
    outputs: list[InferOutput]
    id: str | None = None


class ErrorMessage(Struct):
    """Why a request was not answered."""

    error: str


class IndexRequest(Struct):
    """`ready`: list only the models that are ready."""

    ready: bool = False


class ControlRequest(Struct):
    """What a request to load or unload a model may say."""

    parameters: Parameters | None = None


class IndexEntry(Struct):
    """A version of a model in the repository: `READY`, `UNAVAILABLE` or `LOADING`, and why."""

    name: str
    version: str
    state: str
    reason: str


_decode_infer = msgspec.json.Decoder(InferRequest).decode
_decode_control = msgspec.json.Decoder(ControlRequest).decode
_decode_index = msgspec.json.Decoder(IndexRequest).decode
encode = msgspec.json.Encoder().encode


def decode_infer(payload: bytes) -> InferRequest:
    """Return the request in the JSON of a body. Raises `InvalidMessage` that names the field."""
    return _decode(_decode_infer, payload)


def decode_control(payload: bytes) -> ControlRequest:
    """Return what a body says beside the order to load or unload; it may be empty. Raises `InvalidMessage`."""
    return _decode(_decode_control, payload) if payload.strip() else ControlRequest()


def decode_index(payload: bytes) -> IndexRequest:
    """Return what a body asks of the repository's index; it may be empty. Raises `InvalidMessage`."""
    return _decode(_decode_index, payload) if payload.strip() else IndexRequest()


def _decode(decode: Callable[[bytes], T], payload: bytes) -> T:
    try:
        return decode(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise explain(error, payload) from error
