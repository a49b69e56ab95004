"""Whatever is wrong with a request to `/v2` is a 4xx that says what, and neighbours notice nothing."""

import gzip
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from .client import Http, Reply
from .process import Server
from .raw import connection_to, send_and_read_to_end
from .v2_models import tensor

INFER = "/v2/models/double/infer"
LENGTH = "Inference-Header-Content-Length"
ROW = struct.pack("<3d", 1, 2, 3)
GOOD = {"inputs": [tensor("x", [1, 3], "FP64", [1, 2, 3])]}


def binary(size: Any, **changes: Any) -> dict[str, Any]:
    """Return a request whose only input comes as bytes."""
    asked = {"name": "x", "shape": [1, 3], "datatype": "FP64", "parameters": {"binary_data_size": size}}
    return {"inputs": [{**asked, **changes}]}


def with_input(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**tensor("x", [1, 3], "FP64", [1, 2, 3]), **changes}]}


def with_output(**parameters: Any) -> dict[str, Any]:
    return {**GOOD, "outputs": [{"name": "y", "parameters": parameters}]}


def ask(http: Http, message: Any, tail: bytes = b"", path: str = INFER, **headers: str) -> Reply:
    """POST a message with bytes after it."""
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    if tail:
        headers = {LENGTH: str(len(text)), **headers}
    return http.request("POST", path, text + tail, headers)


def check(reply: Reply, status: int, expected: str) -> None:
    assert reply.headers["Content-Type"] == "application/json"
    assert set(reply.json) == {"error"}
    assert (reply.status, reply.json["error"][: len(expected)]) == (status, expected)


MESSAGES: Mapping[str, tuple[Any, str]] = {
    "nothing": (b"", ""),
    "no JSON": (b"hello", ""),
    "text that is not UTF-8": (b'{"id":"\xff"}', ""),
    "too deep": (b"[" * 100_000, ""),
    "too deep in data": (b'{"inputs":[{"data":' + b"[" * 9000 + b"]" * 9000 + b"}]}", ""),
    "a list": ([], "expected object, got array"),
    "no inputs": ({}, "inputs: missing"),
    "inputs of a wrong type": ({"inputs": {}}, "inputs: expected array"),
    "no input": ({"inputs": []}, "inputs.x: missing"),
    "an id that is a number": ({**GOOD, "id": 5}, "id: expected"),
    "parameters of a wrong type": ({**GOOD, "parameters": []}, "parameters: expected"),
    "an unknown input": (with_input(name="z"), "inputs: 'z' is no input"),
    "an input twice": ({"inputs": GOOD["inputs"] * 2}, "inputs.x: came twice"),
    "no name": ({"inputs": [{"shape": [1, 3], "datatype": "FP64"}]}, "inputs[0].name: missing"),
    "a shape of a wrong type": (with_input(shape="1,3"), "inputs[0].shape: expected"),
    "a negative size": (with_input(shape=[-1, 3]), "inputs[0].shape[0]: expected"),
    "a huge size": (with_input(shape=[1, 2**64]), "inputs[0].shape[1]: "),
    "a size that is no number": (with_input(shape=[1, "3"]), "inputs[0].shape[1]: expected"),
    "too few dimensions": (with_input(shape=[3]), "inputs.x.shape: expected [-1, 3]"),
    "no dimensions": (with_input(shape=[]), "inputs.x.shape: expected [-1, 3]"),
    "another shape": (with_input(shape=[1, 4]), "inputs.x.shape: expected [-1, 3], got [1, 4]"),
    "no rows": (with_input(shape=[0, 3], data=[]), "inputs.x.shape: expected 1 to 16384 rows, got 0"),
    "too many rows": (with_input(shape=[2**31 - 1, 3]), "inputs.x.shape: expected 1 to 16384 rows"),
    "an unknown datatype": (with_input(datatype="FP65"), "inputs.x.datatype: expected FP64, got 'FP65'"),
    "another datatype": (with_input(datatype="FP32"), "inputs.x.datatype: expected FP64"),
    "a datatype of a wrong type": (with_input(datatype=64), "inputs[0].datatype: expected"),
    "no data": ({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64"}]}, "inputs.x.data: missing"),
    "data that is a number": (with_input(data=5), "inputs.x.data: expected a list"),
    "data that is a map": (with_input(data={"b64": "AAAA"}), "inputs.x.data: expected a list"),
    "data that is null": (with_input(data=None), "inputs.x.data: expected a list"),
    "too few numbers": (with_input(data=[1, 2]), "inputs.x.data: expected 3 numbers, got 2"),
    "too many numbers": (with_input(data=[1, 2, 3, 4]), "inputs.x.data: expected 3 numbers, got 4"),
    "ragged lists": (with_input(data=[[1, 2], [3]]), "inputs.x.data"),
    "another nesting": (with_input(data=[[[1, 2, 3]]]), "inputs.x.data: expected shape [1, 3]"),
    "a string among numbers": (with_input(data=[1, "2", 3]), "inputs.x.data: expected numbers, got a string"),
    "a boolean among numbers": (with_input(data=[1, True, 3]), "inputs.x.data: expected numbers, got a boolean"),
    "NaN": (b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP64","data":[1,NaN,3]}]}', "inputs[0].data[1]: "),
    "an unknown output": ({**GOOD, "outputs": [{"name": "z"}]}, "outputs: 'z' is no output"),
    "an output twice": ({**GOOD, "outputs": [{"name": "y"}] * 2}, "outputs.y: asked for twice"),
    "binary_data of a wrong type": (with_output(binary_data=1), "outputs.y.parameters.binary_data: expected true"),
    "classification of a wrong type": (with_output(classification="3"), "outputs.y.parameters.classification: "),
    "classification below zero": (with_output(classification=-1), "outputs.y.parameters.classification: "),
    "shared memory out": (with_output(shared_memory_region="r"), "outputs.y.parameters.shared_memory_region: "),
    "shared memory in": (
        with_input(parameters={"shared_memory_region": "r"}),
        "inputs.x.parameters.shared_memory_region: ",
    ),
    "binary_data_output of a wrong type": (
        {**GOOD, "parameters": {"binary_data_output": 1}},
        "parameters.binary_data_output: expected true",
    ),
    "a timeout below zero": ({**GOOD, "parameters": {"timeout": -1}}, "parameters.timeout: expected"),
    "a timeout that is no integer": ({**GOOD, "parameters": {"timeout": 0.5}}, "parameters.timeout: expected"),
    "a timeout too long": ({**GOOD, "parameters": {"timeout": 10**15}}, "parameters.timeout: expected"),
    "a priority below zero": ({**GOOD, "parameters": {"priority": -1}}, "parameters.priority: expected"),
    "a priority that is text": ({**GOOD, "parameters": {"priority": "high"}}, "parameters.priority: expected"),
    "bytes that did not come": (binary(24), "inputs.x.parameters.binary_data_size: expected 24 bytes after"),
    "data and bytes": (with_input(parameters={"binary_data_size": 0}), "inputs.x: expected either data or"),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_wrong_message_is_refused_by_the_name_of_its_field(tensors: Server, case: str) -> None:
    message, expected = MESSAGES[case]
    with Http(tensors) as http:
        check(ask(http, message), 400, expected)
        assert ask(http, GOOD).json["outputs"][0]["data"] == [1, 2, 3]


BODIES: Mapping[str, tuple[Any, bytes, str]] = {
    "too few bytes": (binary(24), ROW[:-1], "inputs.x.parameters.binary_data_size: expected 24 bytes"),
    "too many bytes": (binary(24), ROW + b"x", "1 bytes after the JSON belong to no input"),
    "a size that does not fit the shape": (binary(16), ROW[:16], "inputs.x: expected 24 bytes for FP64[1, 3], got 16"),
    "a size that is negative": (binary(-1), ROW, "inputs.x.parameters.binary_data_size: expected"),
    "a size that is text": (binary("24"), ROW, "inputs.x.parameters.binary_data_size: expected"),
    "a size that is true": (binary(True), ROW, "inputs.x.parameters.binary_data_size: expected"),
    "bytes without a size": (GOOD, ROW, "24 bytes after the JSON belong to no input"),
}


@pytest.mark.parametrize("case", BODIES)
def test_wrong_binary_data_is_refused(tensors: Server, case: str) -> None:
    message, tail, expected = BODIES[case]
    with Http(tensors) as http:
        check(ask(http, message, tail), 400, expected)
        reply = ask(http, binary(24), ROW)
        assert (reply.status, reply.json["outputs"][0]["data"]) == (200, [1, 2, 3])


@pytest.mark.parametrize("length", ["-1", "abc", "", "1.0", "+5", "99999", "9" * 40, "٣"])
def test_a_wrong_header_length_is_refused(tensors: Server, length: str) -> None:
    body = json.dumps(GOOD).encode()
    with Http(tensors) as http:
        reply = http.request("POST", INFER, body, {LENGTH: length.encode().decode("latin-1")})
        check(reply, 400, f"{LENGTH}: expected 0 to {len(body)}")


STRINGS: Mapping[str, tuple[bytes, str]] = {
    "too few": (b"\x01\x00\x00\x00a", "inputs.first: expected 2 elements"),
    "too many": (b"\x00\x00\x00\x00" * 3, "inputs.first: expected 2 elements"),
    "a length cut off": (b"\x00\x00\x00\x00\x00\x00", "inputs.first: expected 2 elements"),
    "a length beyond the end": (b"\xff\xff\xff\xff" * 2, "inputs.first: element 0 claims 4294967295 bytes"),
    "not UTF-8": (b"\x01\x00\x00\x00\xff\x00\x00\x00\x00", "inputs.first: element 0 is not valid UTF-8"),
}


@pytest.mark.parametrize("case", STRINGS)
def test_wrong_strings_are_refused(tensors: Server, case: str) -> None:
    data, expected = STRINGS[case]
    first = {"name": "first", "shape": [1, 2], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    message = {"inputs": [first, tensor("last", [1, 2], "BYTES", ["a", "b"])]}
    with Http(tensors) as http:
        check(ask(http, message, data, "/v2/models/strings/infer"), 400, expected)


def test_half_precision_and_strings_in_the_wrong_form_are_refused(tensors: Server) -> None:
    with Http(tensors) as http:
        for model, datatype in (("half", "FP16"), ("brain", "BF16"), ("tiny", "FP8E4M3FN")):
            message = {"inputs": [tensor("x", [1, 3], datatype, [1, 2, 3])]}
            reply = ask(http, message, path=f"/v2/models/{model}/infer")
            check(reply, 400, f"inputs.x.data: {datatype} travels as binary data only")
        texts = {"inputs": [tensor(name, [1, 2], "BYTES", [1, 2]) for name in ("first", "last")]}
        check(ask(http, texts, path="/v2/models/strings/infer"), 400, "inputs.first.data: expected strings")
        wants = {"outputs": [{"name": "joined", "parameters": {"classification": 1}}]}
        good = {"inputs": [tensor(name, [1, 2], "BYTES", ["a", "b"]) for name in ("first", "last")]}
        reply = ask(http, {**good, **wants}, path="/v2/models/strings/infer")
        check(reply, 400, "outputs.joined.parameters.classification: joined holds strings")
        mask = {"name": "mask", "shape": [1, 2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}}
        message = {"inputs": [mask, tensor("count", [1], "INT64", [1])]}
        check(ask(http, message, b"\x01\x02", "/v2/models/mixed/infer"), 400, "inputs.mask: expected bytes 0 or 1")


def test_a_raw_body_is_the_only_input(tensors: Server) -> None:
    with Http(tensors) as http:

        def raw(model: str, body: bytes) -> Reply:
            return http.request("POST", f"/v2/models/{model}/infer", body, {LENGTH: "0"})

        reply = raw("double", ROW * 2)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/octet-stream")
        head = int(reply.headers[LENGTH])
        assert json.loads(reply.body[:head])["outputs"][0]["shape"] == [2, 3]
        assert reply.body[head:] == ROW * 2
        assert raw("fixed", bytes(24)).status == 200
        check(raw("double", b""), 400, "inputs.x: expected a multiple of 24 bytes")
        check(raw("double", ROW[1:]), 400, "inputs.x: expected a multiple of 24 bytes")
        check(raw("fixed", bytes(48)), 400, "inputs.x: expected 24 bytes for")
        check(raw("add", bytes(24)), 400, "a raw body needs a model with one input")


CODINGS: Mapping[str, tuple[str, bytes, str]] = {
    "unknown": ("br", b"x", "Content-Encoding: expected gzip or deflate, got 'br'"),
    "no gzip": ("gzip", b"hello", "Content-Encoding: the body is not gzip"),
    "no deflate": ("deflate", b"hello", "Content-Encoding: the body is not deflate"),
    "empty gzip": ("gzip", b"", "Content-Encoding: the gzip body is cut off"),
    "gzip cut off": ("gzip", gzip.compress(b"{}")[:-3], "Content-Encoding: the gzip body is cut off"),
    "deflate cut off": ("deflate", zlib.compress(b"{}")[:-3], "Content-Encoding: the deflate body is cut off"),
    "gzip and more": ("gzip", gzip.compress(b"{}") + b"xyz", "Content-Encoding: 3 bytes follow"),
    "a wrong checksum": ("gzip", gzip.compress(b"{}")[:-8] + bytes(8), "Content-Encoding: the body is not gzip"),
    "good gzip around a wrong body": ("gzip", gzip.compress(b"{}"), "inputs: missing"),
}


@pytest.mark.parametrize("case", CODINGS)
def test_a_wrong_compressed_body_is_refused(tensors: Server, case: str) -> None:
    coding, body, expected = CODINGS[case]
    with Http(tensors) as http:
        check(_coded(http, coding, body), 400, expected)


def _coded(http: Http, coding: str, body: bytes) -> Reply:
    return http.request("POST", INFER, body, {"Content-Encoding": coding})


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_body_that_unpacks_to_more_than_is_allowed_is_refused(tensors: Server, coding: str, pack: Any) -> None:
    bomb = pack(b" " * (64 << 20))
    with Http(tensors) as http:
        check(_coded(http, coding, bomb), 413, "the decompressed body exceeds 1048576 bytes")


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(tensors: Server) -> None:
    with Http(tensors) as http:
        check(http.request("POST", INFER, b"x" * (3 << 20)), 413, "the body exceeds 1048576 bytes")
    with connection_to(tensors) as connection:
        head = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        chunk = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
        answer = send_and_read_to_end(connection, head + chunk + b"8000\r\n" + b" " * 0x8000 + b"\r\n0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'{"error":"the body exceeds' in answer


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/v2/models/nowhere", 404, "model: 'nowhere' is not served"),
        ("GET", "/v2/models/nowhere/config", 404, "model: "),
        ("GET", "/v2/models/nowhere/stats", 404, "model: "),
        ("GET", "/v2/models/double/versions/7", 404, "version: "),
        ("GET", "/v2/models/double/versions/x/ready", 404, "version: "),
        ("GET", "/v2/models/broken/ready", 503, "model 'broken' could not be loaded"),
        ("GET", "/v2/models/double/nothing", 404, "Not Found: no such path"),
        ("GET", "/v2/nothing", 404, "Not Found: no such path"),
        ("GET", "/v2/models/%ff", 400, "Bad Request"),
        ("GET", INFER, 405, "Method Not Allowed"),
        ("POST", "/v2", 405, "Method Not Allowed"),
        ("DELETE", "/v2/models/double", 405, "Method Not Allowed"),
    ],
)
def test_what_is_not_there_says_so_in_the_protocols_form(
    tensors: Server, method: str, path: str, status: int, expected: str
) -> None:
    with Http(tensors) as http:
        reply = http.request(method, path)
        check(reply, status, expected)
        assert (reply.headers["Allow"] is not None) is (status == 405)


def test_a_head_of_inference_has_no_body_and_the_connection_goes_on(tensors: Server) -> None:
    with Http(tensors) as http:
        reply = http.request("HEAD", INFER)
        assert (reply.status, reply.body, reply.headers["Allow"]) == (405, b"", "POST")
        check(http.request("POST", INFER, b"{"), 400, "")
        check(http.request("POST", "/v2/models/%ff/infer", b"{}"), 400, "the path: expected UTF-8")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready":1}', b"\xff"])
def test_a_wrong_question_for_the_index_is_refused(tensors: Server, body: bytes) -> None:
    with Http(tensors) as http:
        check(http.request("POST", "/v2/repository/index", body), 400, "")
        ready = http.request("POST", "/v2/repository/index", b'{"ready":true}').json
        assert {"double"} <= {entry["name"] for entry in ready}
        assert "broken" not in {entry["name"] for entry in ready}
