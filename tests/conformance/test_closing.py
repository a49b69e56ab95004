"""The closing handshake (RFC 6455 sections 5.5.1, 7.1 and 7.4)."""

import pytest

from .cases import cases
from .frames import CloseCode, Opcode, close_frame, frame
from .wire import TOGETHER, Address, Client, End

GOODBYE = close_frame(CloseCode.NORMAL, b"goodbye")
LEGAL_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
ILLEGAL_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]

BAD_REASONS = {
    "stray-continuation": b"\x80",
    "latin-1": b"au revoir \xe0",
    "overlong": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond-U+10FFFF": b"\xf4\x90\x80\x80",
    "never-legal": b"fine until \xff",
    "truncated": b"\xce\xba\xcf",
    "truncated-at-123-octets": b"x" * 121 + b"\xe2\x82",
}


@pytest.mark.parametrize("code", LEGAL_CODES)
@cases("reason", {"without-reason": b"", "with-reason": b"because"})
def test_legal_code(client: Client, code: int, reason: bytes) -> None:
    """Send the code back and end the connection first (sections 5.5.1 and 7.1.1)."""
    client.send(close_frame(code, reason))
    client.expect_end(code)


@pytest.mark.parametrize("code", ILLEGAL_CODES)
@cases("reason", {"without-reason": b"", "with-reason": b"because"})
def test_illegal_code(client: Client, code: int, reason: bytes) -> None:
    """Refuse a code that must not be sent or has no meaning (sections 7.4.1 and 7.4.2)."""
    client.send(close_frame(code, reason))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


def test_no_code(client: Client) -> None:
    """Answer an empty close with no code, or with that of a normal closure (section 7.1.5)."""
    client.send(frame(Opcode.CLOSE))
    client.expect_end(None, CloseCode.NORMAL)


@cases("octet", {"zero": b"\0", "first-of-1000": b"\x03", "letter": b"a"})
def test_half_a_code(client: Client, octet: bytes) -> None:
    """Refuse a close whose payload is one octet (section 5.5.1)."""
    client.send(frame(Opcode.CLOSE, octet))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@cases(
    "reason",
    {
        "1-octet": b"x",
        "122-octets": b"x" * 122,
        "123-octets": b"x" * 123,
        "of-several-octets-each": "κόσμε €😀".encode(),
        "123-octets-of-three-each": "€".encode() * 41,
        "NUL": b"\0",
    },
)
def test_reason(client: Client, reason: bytes) -> None:
    """Accept a reason that fits and is UTF-8."""
    client.send(close_frame(CloseCode.NORMAL, reason))
    client.expect_end(CloseCode.NORMAL)


@pytest.mark.parametrize("length", [124, 125, 1000])
def test_reason_too_long(client: Client, length: int) -> None:
    """Refuse a close of more than 125 octets (section 5.5)."""
    client.send(close_frame(CloseCode.NORMAL, b"x" * length))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@cases("reason", BAD_REASONS)
def test_reason_is_not_utf_8(client: Client, reason: bytes) -> None:
    """Refuse a reason that is not UTF-8 (sections 5.5.1 and 8.1)."""
    client.send(close_frame(CloseCode.NORMAL, reason))
    client.expect_end(CloseCode.INVALID_PAYLOAD)


def test_octet_by_octet(client: Client) -> None:
    """Take a close that comes in octets."""
    client.send(GOODBYE, chop=1)
    client.expect_end(CloseCode.NORMAL)


def test_split_at_every_octet(echo: Address, witness: Client) -> None:
    """Take a close of which the server reads two parts, wherever the cut is."""
    for at in range(1, len(GOODBYE)):
        with Client(echo) as client:
            client.open().send_apart(GOODBYE[:at], witness=witness)
            client.send(GOODBYE[at:])
            client.expect_end(CloseCode.NORMAL)


@cases(
    "late",
    {
        "text": frame(Opcode.TEXT, b"late"),
        "binary": frame(Opcode.BINARY, b"late"),
        "ping": frame(Opcode.PING, b"late"),
        "pong": frame(Opcode.PONG, b"late"),
        "same-close": GOODBYE,
        "other-close": close_frame(4000),
        "illegal-close": close_frame(1005),
        "first-fragment": frame(Opcode.TEXT, b"late", fin=False),
        "continuation": frame(Opcode.CONTINUATION, b"late"),
        "text-that-is-not-UTF-8": frame(Opcode.TEXT, b"\xff"),
        "reserved-bits": frame(Opcode.TEXT, b"late", rsv=7),
        "reserved-opcode": frame(15, b"late"),
        "unmasked": frame(Opcode.TEXT, b"late", key=None),
        "half-a-header": b"\x81",
        "octets-that-are-no-frame": bytes(range(256)),
    },
)
def test_after_close(client: Client, late: bytes) -> None:
    """Ignore whatever follows a close (section 1.4)."""
    client.send(GOODBYE, late, chop=TOGETHER)
    client.expect_end(CloseCode.NORMAL)


@cases("chop", {"apart": None, "one-write": TOGETHER})
@cases("later", {"nothing": [], "rest": [frame(Opcode.CONTINUATION, b"ment")]})
def test_inside_a_fragmented_message(client: Client, chop: int | None, later: list[bytes]) -> None:
    """Close without waiting for the rest of a message, which is dropped (section 5.5.1)."""
    client.send(frame(Opcode.TEXT, b"frag", fin=False), GOODBYE, *later, chop=chop)
    client.expect_end(CloseCode.NORMAL, unread=chop is None and bool(later))


def test_message_before_close(client: Client) -> None:
    """Echo the messages that came before the close, then close."""
    client.send(frame(Opcode.TEXT, b"one"), frame(Opcode.BINARY, b"two"), GOODBYE, chop=TOGETHER)
    client.expect(Opcode.TEXT, b"one")
    client.expect(Opcode.BINARY, b"two")
    client.expect_end(CloseCode.NORMAL)


def test_long_message_before_close(echo: Address) -> None:
    """Send the whole echo of a message before the close, although the client has little room for it."""
    payload = bytes(range(256)) * 4096
    with Client(echo, receive_buffer=16384) as client:
        client.open().send(frame(Opcode.BINARY, payload), GOODBYE, chop=TOGETHER)
        client.expect(Opcode.BINARY, payload)
        client.expect_end(CloseCode.NORMAL)


def test_ping_before_close(client: Client) -> None:
    """Answer a ping that came before the close (section 5.5.2)."""
    client.send(frame(Opcode.PING, b"one"), GOODBYE, chop=TOGETHER)
    client.expect(Opcode.PONG, b"one")
    client.expect_end(CloseCode.NORMAL)


def test_close_after_a_violation(client: Client) -> None:
    """Do not answer a close after the connection was failed (section 7.1.7)."""
    client.send(frame(Opcode.TEXT, rsv=4), GOODBYE, chop=TOGETHER)
    client.expect_end(CloseCode.PROTOCOL_ERROR)


def test_answer_to_the_close_of_a_violation(client: Client) -> None:
    """End the connection whether or not the client answers the server's close (section 7.1.7)."""
    client.send(frame(Opcode.TEXT, rsv=4))
    received = client.receive()
    assert received.opcode is Opcode.CLOSE
    client.send(close_frame(CloseCode.PROTOCOL_ERROR))
    client.expect_fin_or_rst()


def test_client_ends_its_direction_after_close(client: Client) -> None:
    """Answer a close also where the client's FIN comes with it."""
    client.send(GOODBYE)
    client.finish_sending()
    client.expect_end(CloseCode.NORMAL)


@cases("sent", {"nothing": b"", "a-fragment": frame(Opcode.TEXT, b"frag", fin=False)})
def test_client_leaves_without_closing(client: Client, sent: bytes) -> None:
    """End the connection of a client that leaves between frames (section 7.1.5)."""
    client.send(sent)
    client.finish_sending()
    assert client.expect_fin_or_rst() is End.FIN
