"""The decoder and the encoder against another implementation of RFC 6455: the `websockets` library."""

from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Close, Frame
from websockets.protocol import CLIENT, Protocol
from websockets.streams import StreamReader

from handlers.frames import ProtocolViolation, encode_close, encode_frame, parse_close
from tests.conformance.frames import Opcode

from .test_frames import could_become_utf8
from .wire_strategies import ANY_OCTETS, CONTROLS, LIMIT, MESSAGES, Message, Outcome, decode

# After this many zeros every frame that had begun is whole, and then one is wrong: no verdict is left open.
PADDING = bytes(LIMIT + 150)


class Reference:
    """What `websockets` makes of a client's octets.

    Its `Frame.parse` leaves to its callers what stands here: the order of frames, the size of a message and its
    UTF-8. It does not ask for minimal lengths; neither does it look at a control frame before that is whole.
    """

    def __init__(self, octets: bytes) -> None:
        self._reader = StreamReader()
        self._reader.feed_data(octets)
        self._reads: list[bytes] = []
        self._opcode = 0
        self._message = b""
        self.messages: list[Message] = []

    def run(self) -> Outcome:
        """Return the messages and the close code."""
        while True:
            self._reads.clear()
            room = LIMIT - len(self._message)
            try:
                next(Frame.parse(self._read, mask=True, max_size=max(room, 125)))
            except StopIteration as parsed:
                code = self._take(parsed.value, room)
            except PayloadTooBig:
                code = self._misplaced(Opcode(self._reads[0][0] & 15), self._reads[0][0]) or 1009
            except ProtocolError:
                code = 1002
            else:
                raise AssertionError("the padding was too short")
            if code is not None:
                return self.messages, code

    def _read(self, size: int) -> Generator[None, None, bytes]:
        octets = bytes((yield from self._reader.read_exact(size)))
        self._reads.append(octets)
        if len(self._reads) == 2 and self._reads[0][1] & 127 > 125:
            length = int.from_bytes(octets)
            if not (125 if size == 2 else 0xFFFF) < length < 2**63:
                raise ProtocolError("not minimal")
        return octets

    def _misplaced(self, opcode: Opcode, first: int) -> int | None:
        is_wrong = first & 0x70 or opcode >= Opcode.CLOSE or (opcode == Opcode.CONTINUATION) != (self._opcode != 0)
        return 1002 if is_wrong else None

    def _take(self, frame: Frame, room: int) -> int | None:
        opcode, data = Opcode(frame.opcode), bytes(frame.data)
        if opcode >= Opcode.CLOSE:
            self.messages.append((opcode, data))
            return None
        if self._misplaced(opcode, 0):
            return 1002
        if len(data) > room:
            return 1009
        self._opcode = opcode or self._opcode
        self._message += data
        if self._opcode == Opcode.TEXT and not could_become_utf8(self._message):
            return 1007
        if frame.fin:
            if self._opcode == Opcode.TEXT and not is_utf8(self._message):
                return 1007
            self.messages.append((self._opcode, self._message))
            self._opcode, self._message = 0, b""
        return None


def is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(ANY_OCTETS)
def test_both_see_the_same_messages_and_the_same_fault(wire: bytes) -> None:
    wire += PADDING
    assert decode([wire]) == Reference(wire).run()


@given(st.lists(st.one_of(MESSAGES, CONTROLS.filter(lambda control: control[0] != Opcode.CLOSE)), max_size=6))
def test_what_its_client_sends_arrives_here(messages: list[Message]) -> None:
    client = Protocol(CLIENT)
    for opcode, payload in messages:
        if opcode == Opcode.PING:
            client.send_ping(payload)
        elif opcode == Opcode.PONG:
            client.send_pong(payload)
        else:
            send = client.send_text if opcode == Opcode.TEXT else client.send_binary
            send(payload[:5], fin=False)
            client.send_continuation(payload[5:], fin=True)
    client.send_close(1000, "bye")
    sent = b"".join(client.data_to_send())
    is_utf8_in_fragments = [*messages, (int(Opcode.CLOSE), b"\x03\xe8bye")]
    assert decode([sent]) == (is_utf8_in_fragments, None)


@given(st.lists(st.one_of(MESSAGES, CONTROLS.filter(lambda control: control[0] != Opcode.CLOSE)), max_size=6))
def test_what_is_sent_here_arrives_at_its_client(messages: list[Message]) -> None:
    client = Protocol(CLIENT)
    client.receive_data(b"".join(encode_frame(*message) for message in messages) + encode_close(1001, "bye"))
    frames = [event for event in client.events_received() if isinstance(event, Frame)]
    assert client.parser_exc is None
    assert [(int(frame.opcode), bytes(frame.data)) for frame in frames[:-1]] == messages
    assert client.close_rcvd == Close(1001, "bye")


@pytest.mark.parametrize("code", [*range(980, 1020), *range(2998, 3002), *range(4998, 5002), 0, 65535])
def test_both_allow_the_same_close_codes(code: int) -> None:
    payload = code.to_bytes(2) + b"why"
    try:
        expected = Close.parse(payload)
    except ProtocolError:
        with pytest.raises(ProtocolViolation):
            parse_close(payload)
    else:
        assert parse_close(payload) == (expected.code, expected.reason)
