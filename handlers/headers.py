"""Headers that keep browsers from doing more with an answer than is meant, after OWASP's advice for APIs and pages."""

from collections.abc import Mapping
from typing import Final

#: Of every answer: data, which nobody keeps, guesses the type of, shows as a page or in a frame, or embeds elsewhere.
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

#: Of a page, which has a policy of its own too: no window of another origin has hold of it, and it uses no device.
PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def secure_headers(hsts_seconds: int) -> Mapping[str, str]:
    """Return what every answer has over TLS: for so long a browser is to come with TLS only; 0: as it likes."""
    if not hsts_seconds:
        return HEADERS
    return {**HEADERS, "Strict-Transport-Security": f"max-age={hsts_seconds}"}
