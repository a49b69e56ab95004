"""gzip and deflate, as HTTP names them, with a bound on what comes out."""

import zlib
from typing import Final

from pipeline.errors import InvalidMessage, TooLarge

LEVEL: Final = 1  # answers are compressed on the event loop, where time matters more than the last bytes

_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return what a `Content-Encoding` holds. Raises `TooLarge` beyond `limit` bytes, `InvalidMessage` if malformed."""
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOW_BITS:
        raise InvalidMessage(f"Content-Encoding: expected gzip or deflate, got {encoding[:100]!r}")
    inflater = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidMessage(f"Content-Encoding: the body is not {coding}") from error
    if len(plain) > limit:
        raise TooLarge(f"the decompressed body exceeds {limit} bytes (max_message_bytes)")
    if not inflater.eof:
        raise InvalidMessage(f"Content-Encoding: the {coding} body is cut off")
    if inflater.unused_data:
        raise InvalidMessage(f"Content-Encoding: {len(inflater.unused_data)} bytes follow the {coding} body")
    return plain


def compress(body: bytes, coding: str) -> bytes:
    """Return a body in a coding that `choose` returned."""
    deflater = zlib.compressobj(LEVEL, wbits=_WINDOW_BITS[coding])
    return deflater.compress(body) + deflater.flush()


def choose(accepted: str) -> str | None:
    """Return the first coding of an `Accept-Encoding` that is spoken here, None for the body as it is."""
    for item in accepted.lower().split(","):
        coding, _, parameters = item.partition(";")
        quality = parameters.replace(" ", "").partition("q=")[2] or "1"
        if coding.strip() in ("gzip", "deflate") and quality.strip("0.") != "":
            return coding.strip()
    return None
