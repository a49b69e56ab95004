"""How webhooks are signed, as Standard Webhooks has it, and when they are tried again."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

PREFIX: Final = "whsec_"
MIN_KEY_BYTES: Final = 24
MAX_KEY_BYTES: Final = 64

_TOO_MANY_REQUESTS: Final = 429


def signing_key(secret: str) -> bytes:
    """Return the key of a secret: base64, with or without `whsec_` before it. Raises `ValueError` without it."""
    text = secret.strip().removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"expected base64, with or without {PREFIX} before it") from None
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"expected {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes as base64, got {len(key)} bytes")
    return key


def signed_headers(key: bytes | None, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt; `timestamp` is in unix seconds. Without a key there is no signature."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if key is not None:
        content = f"{message_id}.{timestamp}.".encode() + body
        digest = hmac.new(key, content, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def is_delivered(status: int) -> bool:
    """Return whether the receiver has taken it."""
    return 200 <= status < 300


def may_repeat(status: int) -> bool:
    """Return whether another attempt may help: the receiver is busy, or the fault is its own."""
    return status >= 500 or status == _TOO_MANY_REQUESTS


def pause_before(attempt: int, first: float, longest: float, chance: float, retry_after: float | None) -> float:
    """Return the seconds to wait before attempt 1, 2, ... after the first one.

    They are exponential with full jitter, `chance` being uniform in [0, 1), and not less than what the receiver asked
    for (`retry_after`); at most `longest` in any case.
    """
    jittered = chance * min(longest, first * 2.0 ** (attempt - 1))
    return max(jittered, min(retry_after or 0.0, longest))


def retry_after(headers: Mapping[str, str], status: int, now: float) -> float | None:
    """Return the seconds that a 429 or 503 asks to wait; `now` is in unix seconds."""
    text = headers.get("Retry-After")
    if text is None or status not in (_TOO_MANY_REQUESTS, 503):
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
