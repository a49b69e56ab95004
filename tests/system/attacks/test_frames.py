"""Violations of RFC 6455, over and over: each is told its close code, and the next finds the server as it was."""

import itertools
from typing import Final

from tests.conformance.frames import Opcode, close_frame, frame, header

from ..raw import open_raw
from .hostile import DOUBLE
from .scene import Arena

PROTOCOL_ERROR: Final = 1002
INVALID_UTF8: Final = 1007
TOO_BIG: Final = 1009
FORBIDDEN_CODES: Final = (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)

VIOLATIONS: Final = {
    "not masked": (PROTOCOL_ERROR, frame(Opcode.TEXT, b"x", key=None)),
    "not masked, amid a message": (PROTOCOL_ERROR, frame(Opcode.TEXT, b"x", fin=False) + frame(0, b"x", key=None)),
    **{f"reserved bit {bit}": (PROTOCOL_ERROR, frame(Opcode.BINARY, b"x", rsv=bit)) for bit in (1, 2, 4)},
    **{f"opcode {opcode}": (PROTOCOL_ERROR, frame(opcode)) for opcode in (3, 7, 11, 15)},
    **{f"{opcode.name} of 126": (PROTOCOL_ERROR, frame(opcode, bytes(126))) for opcode in Opcode if opcode > 7},
    **{f"{opcode.name} in fragments": (PROTOCOL_ERROR, frame(opcode, fin=False)) for opcode in Opcode if opcode > 7},
    "a length that is not minimal": (PROTOCOL_ERROR, frame(Opcode.BINARY, b"x", width=64)),
    "a length of 2^63": (PROTOCOL_ERROR, header(Opcode.BINARY, 2**63, width=64)),
    "a length of 2^62": (TOO_BIG, header(Opcode.BINARY, 2**62, width=64)),
    "a message within a message": (PROTOCOL_ERROR, frame(Opcode.TEXT, fin=False) + frame(Opcode.TEXT)),
    "no UTF-8": (INVALID_UTF8, frame(Opcode.TEXT, b"\xff")),
    "no UTF-8, over fragments": (INVALID_UTF8, frame(Opcode.TEXT, b"\xf0\x90", fin=False) + frame(0, b"\x80x")),
    "no UTF-8, at the end": (INVALID_UTF8, frame(Opcode.TEXT, b"\xf0\x90", fin=False) + frame(0, b"\x80")),
    "a surrogate": (INVALID_UTF8, frame(Opcode.TEXT, b"\xed\xa0", fin=False) + frame(0, b"\x80")),
    "no UTF-8 in a reason": (INVALID_UTF8, close_frame(1000, b"\xff")),
    "half a close code": (PROTOCOL_ERROR, frame(Opcode.CLOSE, b"\x03")),
    **{f"close code {code}": (PROTOCOL_ERROR, close_frame(code)) for code in FORBIDDEN_CODES},
}


def test_violations_by_the_thousand_are_told_what_they_are(arena: Arena) -> None:
    with arena.under_attack() as attack:
        for case, path in itertools.cycle(itertools.product(VIOLATIONS, (DOUBLE, "/v1/watch"))):
            code, octets = VIOLATIONS[case]
            with open_raw(arena.server, path) as client:
                client.send(octets)
                client.expect_end(code)
            if not attack.lasts(pause=0.005):
                break


def test_violations_of_a_crowd_at_once_are_told_what_they_are(arena: Arena) -> None:
    with arena.under_attack() as attack:
        while attack.lasts(pause=0.1):
            clients = [(open_raw(arena.server, DOUBLE), *VIOLATIONS[case]) for case in VIOLATIONS]
            for client, _, octets in clients:
                client.send(octets)
            for client, code, _ in clients:
                with client:
                    client.expect_end(code)
