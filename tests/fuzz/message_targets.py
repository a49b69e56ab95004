"""Messages of clients and of other processes: read, or refused with one of the errors that say so."""

import contextlib
import zlib
from typing import Any, Final

import msgspec

from pipeline import order_letters, orders, standing
from pipeline.cluster_messages import ForeignEntry, decode_entry, decode_reply
from pipeline.codec import JSON, MSGPACK, Codec, Refused
from pipeline.compression import choose, compress, decompress
from pipeline.errors import InvalidInput, InvalidMessage, TooLarge, WaterspoutError
from pipeline.fanout_messages import ForeignLetter, decode_card, decode_letter
from pipeline.tensors import DTYPES, STRING, TensorSpec
from pipeline.topics import read_patterns
from pipeline.v2_messages import decode_control, decode_index, decode_infer
from pipeline.v2_responses import plan_outputs, read_schedule
from pipeline.v2_tensors import read_raw, read_rows
from tests.pipeline.session_parts import Client, FakeModel
from tests.pipeline.test_v2_codec import Tensors

MOST_ROWS: Final = 64
MOST_BYTES: Final = 65536
LONGEST_ERROR: Final = 1000
SPECS: Final = [
    TensorSpec("x", dtype, shape) for dtype in DTYPES.values() for shape in ((), (3,), (2, 2), (None,), (None, 2), (0,))
]
MODELS: Final = [
    Tensors((spec,), (TensorSpec("y", DTYPES["float32"], (2,)),), batched)
    for spec in SPECS
    for batched in (True, False)
]


def messages(codec: Codec, data: bytes) -> None:
    """Each message of a frame is an event, a control message, or refused in few words."""
    for decoded in (*codec.decode_each(data), *codec.decode_orders(data)):
        if isinstance(decoded, Refused):
            assert isinstance(decoded.error, WaterspoutError)
            assert 0 < len(str(decoded.error)) < LONGEST_ERROR


def session(data: bytes) -> None:
    """Whatever comes, each event has one answer, and the session goes on."""
    model = FakeModel()
    client = Client(model, codec=MSGPACK if data[:1] > b"\x7f" else JSON)
    client.send_bytes(data[1:])
    model.finish(*model.start())
    client.read()
    assert client.session.in_flight == 0
    if not client.outlet.closed:
        client.send(1, id="good")
        model.finish(*model.start())
        assert client.predictions()[-1].id == "good"


def tensors(data: bytes) -> None:
    """A tensor from anything that can be written is a cell of its size, or refused by the name of its field."""
    spec = SPECS[data[0] % len(SPECS)] if data else SPECS[0]
    value: Any = data[1:]
    with contextlib.suppress(msgspec.MsgspecError, RecursionError, ValueError):
        value = msgspec.msgpack.decode(value) if data[:1] > b"\x7f" else msgspec.json.decode(value)
    try:
        cell, shape = spec.parse(value, "data")
    except InvalidInput as error:
        if not str(error).startswith("data"):
            raise
        return
    if spec.dtype is not STRING and shape is None:
        assert len(cell) == spec.nbytes


def v2(data: bytes) -> None:
    """A request of the Open Inference Protocol becomes rows, or is refused."""
    model = MODELS[data[0] % len(MODELS)] if data else MODELS[0]
    body, _, tail = data[1:].partition(b"\n")
    with contextlib.suppress(InvalidInput, InvalidMessage, TooLarge):
        rows, _ = read_raw(data[1:], model, MOST_ROWS)
        assert 1 <= len(rows) <= MOST_ROWS
    for decode in (decode_control, decode_index):
        with contextlib.suppress(InvalidMessage):
            decode(body)
    with contextlib.suppress(InvalidInput, InvalidMessage, TooLarge):
        request = decode_infer(body)
        plan_outputs(request, model)
        read_schedule(request)
        rows, _ = read_rows(request, tail, model, MOST_ROWS)
        assert 1 <= len(rows) <= MOST_ROWS


def compression(data: bytes) -> None:
    """What is compressed never becomes larger than allowed, and comes back as it was."""
    for coding in ("gzip", "deflate", data[:8].decode("latin-1")):
        with contextlib.suppress(InvalidMessage, TooLarge):
            assert len(decompress(data, coding, MOST_BYTES)) <= max(MOST_BYTES, len(data))
    chosen = choose(data.decode("latin-1"))
    if chosen is not None and len(data) <= MOST_BYTES:
        assert decompress(compress(data, chosen), chosen, MOST_BYTES) == data


def between_processes(data: bytes) -> None:
    """What other processes tell is read or refused, whoever wrote it."""
    for decode, refused in (
        (decode_letter, ForeignLetter),
        (decode_card, ForeignLetter),
        (decode_entry, ForeignEntry),
        (decode_reply, ForeignEntry),
        (orders.decode_order, orders.ForeignOrder),
        (orders.decode_result, orders.ForeignOrder),
        (order_letters.decode_call, orders.ForeignOrder),
        (order_letters.decode_reply, orders.ForeignOrder),
        (standing.decode_card, orders.ForeignOrder),
    ):
        with contextlib.suppress(refused):
            decode(data)
    with contextlib.suppress(InvalidMessage):
        read_patterns(data.decode("latin-1").split("\n"))


TARGETS: Final = {
    "json": lambda data: messages(JSON, data),
    "msgpack": lambda data: messages(MSGPACK, data),
    "session": session,
    "tensors": tensors,
    "v2": v2,
    "compression": compression,
    "between_processes": between_processes,
}

_GOOD: Final = {"id": 1, "key": "k", "data": [1, 2.5, [3]], "timeout_ms": 5, "priority": 1, "ts": 1.5}
_INFER: Final = {
    "id": "1",
    "parameters": {"priority": 1, "timeout": 5, "binary_data_output": True},
    "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}],
    "outputs": [{"name": "y", "parameters": {"classification": 1, "binary_data": True}}],
}
_encode_json, _encode_msgpack = msgspec.json.encode, msgspec.msgpack.encode

SEEDS: Final[dict[str, list[bytes]]] = {
    "json": [
        _encode_json(_GOOD),
        _encode_json([_GOOD, {"op": "ping", "t": 1}]),
        b'{"op":"subscribe","topics":["a/*"],"hz":2}',
    ],
    "msgpack": [
        _encode_msgpack(_GOOD),
        _encode_msgpack([{"op": "reset", "key": "k"}]),
        _encode_msgpack({"data": bytes(12)}),
    ],
    "session": [b"\0" + _encode_json(_GOOD), b"\xff" + _encode_msgpack(_GOOD), b'\0[{"data":1},{"op":"ping"}]'],
    "tensors": [
        b"\1[1,2,3]",
        b"\2[[1,2],[3,4]]",
        b'\3{"shape":[2],"data":[1,2]}',
        b"\xc4" + _encode_msgpack(["a", "b"]),
    ],
    "v2": [
        b"\1" + _encode_json(_INFER) + b"\n" + bytes(12),
        b'\2{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["a"]}]}',
    ],
    "compression": [zlib.compress(bytes(100_000)), compress(b"x" * 100, "gzip"), b"gzip;q=0.5, deflate", b"identity"],
    "between_processes": [b"a/*\nb/c", _encode_msgpack({"format": 1, "sender": "a", "number": 1, "body": {}})],
}
