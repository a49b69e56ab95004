"""Violations of RFC 6455 on a door with a session; the conformance suite has them all on the echo door."""

import pytest

from tests.conformance.frames import Opcode, frame

from .client import open_stream
from .metrics import Metrics
from .process import Server, until
from .raw import open_raw

DOUBLE = "/v1/models/double/stream"
SLOW = "/v1/models/slow/stream"
PROTOCOL_ERROR = 1002
INVALID_UTF8 = 1007
EVENT = b'{"data":[1,2,3,4]}'

VIOLATIONS = {
    "not masked": (PROTOCOL_ERROR, frame(Opcode.TEXT, EVENT, key=None)),
    "reserved bits": (PROTOCOL_ERROR, frame(Opcode.TEXT, EVENT, rsv=4)),
    "reserved opcode": (PROTOCOL_ERROR, frame(3, EVENT)),
    "continuation of nothing": (PROTOCOL_ERROR, frame(Opcode.CONTINUATION, EVENT)),
    "fragmented ping": (PROTOCOL_ERROR, frame(Opcode.PING, b"", fin=False)),
    "long ping": (PROTOCOL_ERROR, frame(Opcode.PING, b"x" * 126)),
    "length not minimal": (PROTOCOL_ERROR, frame(Opcode.TEXT, EVENT, width=16)),
    "close of one octet": (PROTOCOL_ERROR, frame(Opcode.CLOSE, b"\x03")),
    "text that is not UTF-8": (INVALID_UTF8, frame(Opcode.TEXT, b'{"id":"\xff"}')),
    "text that ends within a character": (INVALID_UTF8, frame(Opcode.TEXT, b'"\xe2\x82')),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_violation_closes_the_socket_with_the_rfc_s_code_and_no_other(zoo: Server, case: str) -> None:
    code, octets = VIOLATIONS[case]
    with open_stream(zoo, DOUBLE) as neighbour, open_raw(zoo, DOUBLE) as client:
        client.send(octets)
        client.expect_end(code)
        assert neighbour.ask({"id": 1, "data": [1, 2, 3, 4]}) == {"id": 1, "outputs": {"y": [2, 4, 6, 8]}}


def test_what_came_before_a_violation_is_taken_and_what_comes_after_is_not(zoo: Server) -> None:
    with open_raw(zoo, DOUBLE) as client:
        client.send(frame(Opcode.TEXT, b'{"op":"ping","t":1}') + frame(3) + frame(Opcode.TEXT, b'{"op":"ping","t":2}'))
        client.expect(Opcode.TEXT, b'{"op":"pong","t":1}')
        client.expect_end(PROTOCOL_ERROR)


def test_a_fragmented_event_is_answered_with_a_ping_in_between(zoo: Server) -> None:
    with open_raw(zoo, DOUBLE) as client:
        client.send(frame(Opcode.TEXT, EVENT[:7], fin=False), frame(Opcode.PING, b"?"))
        client.expect(Opcode.PONG, b"?")
        client.send(frame(Opcode.CONTINUATION, EVENT[7:]))
        client.expect(Opcode.TEXT, b'{"seq":0,"outputs":{"y":[2.0,4.0,6.0,8.0]}}')


def test_events_of_a_client_that_vanishes_are_not_run(zoo: Server) -> None:
    predicted = Metrics(zoo)("predictions_total", model="slow")
    with open_raw(zoo, SLOW) as client:
        client.send(frame(Opcode.TEXT, b"[" + b",".join([b'{"data":500}'] * 200) + b"]"))
        client.round_trip()
    with open_stream(zoo, SLOW) as stream:
        assert stream.ask({"id": 1, "data": 1})["outputs"] == {"y": [1.0]}
    # At most the batch of eight that ran already, and the one event of the second client.
    assert until(lambda: Metrics(zoo)("predictions_total", model="slow") - predicted) <= 9
