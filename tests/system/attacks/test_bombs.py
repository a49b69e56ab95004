"""Small things that want to become large: compressed bodies, deep nesting, endless messages, huge names, many keys."""

import gzip
import itertools
import zlib
from collections import Counter
from contextlib import ExitStack
from typing import Any, Final

from tests.conformance.frames import Opcode, frame

from ..client import ENCODINGS, Http, open_stream
from ..raw import connection_to, open_raw, read_head, upgrade_request
from .conftest import MAX_KEYS
from .hostile import DOUBLE
from .scene import Arena

MIB: Final = 1 << 20
GOOD: Final = {"id": "good", "data": [1, 2, 3, 4]}
INFER: Final = "/v2/models/double/infer"
PREDICT: Final = "/v1/models/double/predict"
TOO_BIG: Final = 1009
KEYS_OF_A_SOCKET: Final = 1024  # the server's default
PAUSE: Final = 0.1  # seconds between attempts: one is to do harm, not their number


def deflated(size: int, wbits: int) -> bytes:
    """Return so many zeros, compressed as far as it goes."""
    deflater = zlib.compressobj(9, wbits=wbits)
    return b"".join(deflater.compress(bytes(MIB)) for _ in range(size // MIB)) + deflater.flush()


BODIES = {
    "deflate": (deflated(256 * MIB, 15), 413),
    "gzip": (deflated(256 * MIB, 31), 413),
    "x-gzip": (gzip.compress(deflated(900 * MIB, 31)), 400),  # a bomb in a bomb: taken apart once only
    "gzip, gzip": (deflated(16 * MIB, 31), 400),
    "br": (b"\x00", 400),
}


def test_a_compressed_bomb_is_refused_before_it_goes_off(arena: Arena) -> None:
    with arena.under_attack() as attack, Http(arena.server) as http:
        for path, (coding, (body, status)) in itertools.cycle(itertools.product((INFER, PREDICT), BODIES.items())):
            assert len(body) < MIB
            reply = http.request("POST", path, body, {"Content-Encoding": coding})
            assert reply.status == (status if path == INFER else 400), (path, coding, reply)
            if not attack.lasts(PAUSE):
                break


def test_compressed_messages_are_not_offered_and_not_taken(arena: Arena) -> None:
    offer = "permessage-deflate; client_max_window_bits"
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = deflater.compress(bytes(16 * MIB)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    with arena.under_attack() as attack:
        while attack.lasts(PAUSE):
            with connection_to(arena.server) as connection:
                connection.sendall(upgrade_request(arena.server, DOUBLE, Sec_WebSocket_Extensions=offer))
                assert b"sec-websocket-extensions" not in read_head(connection).lower()
                connection.sendall(frame(Opcode.BINARY, bomb[:-4], rsv=4))
                assert connection.recv(2)[0] == 0x80 | Opcode.CLOSE


def nested(depth: int) -> list[str | bytes]:
    """Return messages that are nested so deep, in both encodings."""
    lists, packed = "[" * depth, b"\x91" * depth
    return [
        '{"data":' + lists + "]" * depth + "}",
        lists,
        '{"a":' * depth,
        '{"op":"ping","t":' + lists + "1" + "]" * depth + "}",
        b"\x81\xa4data" + packed + b"\xc0",
        packed,
        b"\x81\xa1a" * depth,
        b"\x81" * depth,
    ]


def test_no_nesting_is_deep_enough_to_do_harm(arena: Arena) -> None:
    with arena.under_attack() as attack, open_stream(arena.server, DOUBLE) as stream:
        for payload in itertools.cycle(itertools.chain.from_iterable(map(nested, (1_000, 30_000, 100_000)))):
            stream.send_raw(payload)
            assert stream.receive()["error"]["code"] in ("invalid_message", "invalid_input"), payload[:40]
            assert stream.ask(GOOD)["outputs"] == {"y": [2, 4, 6, 8]}
            if not attack.lasts(PAUSE):
                break


def test_a_message_without_end_is_refused_at_the_limit(arena: Arena) -> None:
    parts = [frame(Opcode.CONTINUATION if number else Opcode.BINARY, bytes(60_000), fin=False) for number in range(30)]
    with arena.under_attack() as attack:
        while attack.lasts(PAUSE):
            with open_raw(arena.server, DOUBLE) as client:
                client.send(*parts)
                client.expect_end(TOO_BIG, unread=True)


LONG: Final = "x" * 900_000
HUGE: Final[dict[str, dict[str, Any]]] = {
    "id": {"id": LONG, "data": [1, 2, 3, 4]},
    "number": {"id": 2**63, "data": [1, 2, 3, 4]},
    "key": {"key": LONG, "data": [1, 2, 3, 4]},
    "field": {LONG: 1},
    "fields": {f"field-{number}": number for number in range(5_000)},
    "inputs": {"data": {f"input-{number}": number for number in range(5_000)}},
    "shape": {"data": {"shape": [1] * 10_000, "data": [1]}},
    "size": {"data": {"shape": [2**40], "data": [1]}},
}


def test_huge_names_are_refused_in_few_words(arena: Arena) -> None:
    with arena.under_attack() as attack, ExitStack() as stack:
        streams = [stack.enter_context(open_stream(arena.server, DOUBLE, encoding)) for encoding in ENCODINGS]
        for stream, case in itertools.cycle(itertools.product(streams, HUGE)):
            stream.send(HUGE[case])
            answer = stream.receive()
            assert answer["error"]["code"] in ("invalid_message", "invalid_input"), (case, answer)
            assert len(answer["error"]["message"]) < 1000, case
            assert stream.ask(GOOD)["id"] == "good"
            if not attack.lasts(PAUSE):
                break


def test_an_explosion_of_keys_ends_at_the_limits(arena: Arena) -> None:
    events = [{"key": f"key-{number}", "data": [1, 2]} for number in range(KEYS_OF_A_SOCKET + 1)]
    codes: Counter[str] = Counter()
    with arena.under_attack(most_left=32 << 20) as attack, ExitStack() as stack:
        path = "/v1/models/moving/stream?reply=none"
        streams = [
            stack.enter_context(open_stream(arena.server, path)) for _ in range(MAX_KEYS // KEYS_OF_A_SOCKET + 2)
        ]
        for stream in streams:
            for start in range(0, len(events), 25):
                stream.send(events[start : start + 25])
                attack.lasts(pause=0.005)
            codes.update(message["error"]["code"] for message in stream.until_pong(1) if "error" in message)
        attack.hold()
    assert codes["overloaded"] > KEYS_OF_A_SOCKET
    assert set(codes) == {"overloaded"}
    with open_stream(arena.server, "/v1/models/moving/stream") as stream:
        assert stream.ask([{"key": "a", "data": [1, 2]}] * 3)["outputs"] == {"y": [3, 6]}
