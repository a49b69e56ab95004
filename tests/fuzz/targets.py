"""All targets by name: functions of any bytes, which fail by raising."""

from collections.abc import Callable
from typing import Final

from tests.conformance.frames import Opcode, close_frame, frame

from . import config_targets, credential_targets, message_targets, wire_targets

Target = Callable[[bytes], object]

TARGETS: Final[dict[str, Target]] = {
    **wire_targets.TARGETS,
    **message_targets.TARGETS,
    **config_targets.TARGETS,
    **credential_targets.TARGETS,
}

_FRAMES: Final = [
    b"\x05" + frame(Opcode.TEXT, "häh".encode(), fin=False) + frame(Opcode.PING, b"?") + frame(0, b"!"),
    b"\x01" + frame(Opcode.BINARY, bytes(200)) + close_frame(1000, b"bye"),
    b"\x1f" + frame(Opcode.TEXT, b"\xed\xa0\x80") + frame(3) + frame(Opcode.BINARY, bytes(400)),
]

#: What a fuzzer begins with: one good input of each kind is worth hours of search.
SEEDS: Final[dict[str, list[bytes]]] = {
    **dict.fromkeys(wire_targets.TARGETS, _FRAMES),
    **message_targets.SEEDS,
    **config_targets.SEEDS,
    **credential_targets.SEEDS,
}
