"""Opening handshake: RFC 6455 sections 4.1 to 4.4."""

import pytest

from .cases import cases
from .wire import RESOURCE, Address, Client, End, Response, accept_value, opening_headers, opening_request

SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def answer(
    echo: Address,
    changes: dict[str, str | None],
    start: str = f"GET {RESOURCE} HTTP/1.1",
    chop: int | None = None,
) -> Response:
    """Return the response to an opening handshake that differs from the usual one."""
    with Client(echo) as client:
        client.send(opening_request({**opening_headers(echo), **changes}, start), chop=chop)
        return client.receive_response()


def test_accept_value_of_the_rfc(echo: Address) -> None:
    """Answer the sample key with the value that section 1.3 gives."""
    assert accept_value(SAMPLE_KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    response = answer(echo, {"Sec-WebSocket-Key": SAMPLE_KEY})
    assert response.status == 101
    assert response.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_headers_of_the_response(echo: Address) -> None:
    """Name the protocol and no body (section 4.2.2; RFC 9110 section 8.6 for 1xx responses)."""
    response = answer(echo, {})
    assert response.status == 101
    assert response.headers["upgrade"].lower() == "websocket"
    assert "upgrade" in response.headers["connection"].lower().replace(" ", "").split(",")
    assert not response.headers.keys() & {"content-length", "transfer-encoding"}


@cases(
    "changes",
    {
        "Upgrade-in-capitals": {"Upgrade": "WEBSOCKET"},
        "Upgrade-in-mixed-case": {"Upgrade": "WebSocket"},
        "Connection-in-lower-case": {"Connection": "upgrade"},
        "Connection-keep-alive-first": {"Connection": "keep-alive, Upgrade"},
        "Connection-keep-alive-last": {"Connection": "Upgrade, keep-alive"},
        "Connection-without-space": {"Connection": "keep-alive,Upgrade"},
        "Connection-in-two-fields": {"Connection": "keep-alive", "connection": "Upgrade"},
        "unknown-field": {"X-Unknown": "value"},
    },
)
def test_accepted_headers(echo: Address, changes: dict[str, str | None]) -> None:
    """Match tokens without regard to case, and in lists (section 4.2.1)."""
    assert answer(echo, changes).status == 101


@cases("upper", {"lower-case": False, "upper-case": True})
def test_case_of_header_names(echo: Address, upper: bool) -> None:
    """Match header names without regard to case (RFC 9110 section 5.1)."""
    spell = str.upper if upper else str.lower
    with Client(echo) as client:
        client.send(opening_request({spell(name): value for name, value in opening_headers(echo).items()}))
        assert client.receive_response().status == 101


@cases(
    "changes",
    {
        "Upgrade-missing": {"Upgrade": None},
        "Upgrade-empty": {"Upgrade": ""},
        "Upgrade-to-another-protocol": {"Upgrade": "h2c"},
        "Upgrade-with-suffix": {"Upgrade": "websockets"},
        "Connection-missing": {"Connection": None},
        "Connection-close": {"Connection": "close"},
        "Connection-keep-alive": {"Connection": "keep-alive"},
        "Connection-with-suffix": {"Connection": "Upgraded"},
        "Upgrade-and-Connection-missing": {"Upgrade": None, "Connection": None},
        "Host-missing": {"Host": None},
        "version-missing": {"Sec-WebSocket-Version": None},
    },
)
def test_refused_headers(echo: Address, changes: dict[str, str | None]) -> None:
    """Refuse with a client error what is no opening handshake (section 4.2.1)."""
    assert 400 <= answer(echo, changes).status < 500


@cases(
    "key",
    {
        "missing": None,
        "empty": "",
        "not-base64": "!!!!!!!!!!!!!!!!!!!!!!==",
        "15-octets": "dGhlIHNhbXBsZSBub25j",
        "17-octets": "dGhlIHNhbXBsZSBub25jZSE=",
        "16-octets-without-padding": "dGhlIHNhbXBsZSBub25jZQ",
        "16-octets-and-more": "dGhlIHNhbXBsZSBub25jZQ==AAAA",
        "list": f"{SAMPLE_KEY}, {SAMPLE_KEY}",
    },
)
def test_bad_key(echo: Address, key: str | None) -> None:
    """Refuse a key that is not 16 octets in base64 (section 4.2.1)."""
    assert answer(echo, {"Sec-WebSocket-Key": key}).status == 400


def test_second_key(echo: Address) -> None:
    """Refuse a key that is sent twice (section 11.3.1)."""
    assert answer(echo, {"Sec-WebSocket-Key": SAMPLE_KEY, "sec-websocket-key": SAMPLE_KEY}).status == 400


@pytest.mark.parametrize("version", ["0", "7", "8", "12", "14", "113", "255"])
def test_other_version(echo: Address, version: str) -> None:
    """Name the supported version where the client asks for another (section 4.4)."""
    response = answer(echo, {"Sec-WebSocket-Version": version})
    assert response.status == 426
    assert response.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
def test_other_method(echo: Address, method: str) -> None:
    """Refuse everything but GET (section 4.2.1)."""
    assert 400 <= answer(echo, {"Content-Length": "0"}, f"{method} {RESOURCE} HTTP/1.1").status < 500


def test_http_1_0(echo: Address) -> None:
    """Refuse HTTP before 1.1 (section 4.2.1)."""
    assert answer(echo, {}, f"GET {RESOURCE} HTTP/1.0").status != 101


@cases(
    "changes",
    {
        "subprotocol": {"Sec-WebSocket-Protocol": "chat, superchat"},
        "deflate": {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        "unknown-extension": {"Sec-WebSocket-Extensions": 'x-unknown; a=1; b="2", x-other'},
        "both": {"Sec-WebSocket-Protocol": "chat", "Sec-WebSocket-Extensions": "permessage-deflate"},
    },
)
def test_offers_are_not_taken(echo: Address, changes: dict[str, str | None]) -> None:
    """Open without what the client offers and the server does not know (section 4.2.2)."""
    response = answer(echo, changes)
    assert response.status == 101
    assert not response.headers.keys() & {"sec-websocket-extensions", "sec-websocket-protocol"}


def test_silence_before_the_request_is_complete(echo: Address, witness: Client) -> None:
    """Send nothing before the status line, and not that before the request has ended."""
    request = opening_request(opening_headers(echo))
    with Client(echo) as client:
        client.send_apart(request[:-2], witness=witness)
        assert client.is_silent()
        client.send(request[-2:])
        assert client.receive_response().status == 101
        client.round_trip()


def test_request_octet_by_octet(echo: Address) -> None:
    """Accept a request however TCP cuts it."""
    assert answer(echo, {}, chop=1).status == 101


def test_end_in_the_middle_of_the_request(echo: Address) -> None:
    """End the connection of a client that leaves before its request is complete."""
    with Client(echo) as client:
        client.send(opening_request(opening_headers(echo))[:40])
        client.finish_sending()
        assert client.expect_fin_or_rst() is End.FIN
