"""Secrets out of texts that others will read: lines of the log."""

import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "[hidden]"
LEAST_LENGTH: Final = 6  # of a secret that is known: shorter ones would be found in every other word

_NAMES: Final = r"(?i:\b\w*(?:api_key|authorization|credential|passw(?:or)?d|secret|ticket|token)s?)"

#: What a secret looks like; the groups are shown. Strangers choose what is searched: none of these may look at a
#: character once for each place where a match could begin.
_PATTERNS: Final = (
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    r"(wsk_[A-Za-z0-9]{0,12})[\w-]*",  # an API key: whose it is is no secret
    r"(wst_)[\w-]+",  # a ticket
    r"(whsec_)[\w+/=-]+",
    r"(?<![\w-])eyJ[\w-]{10,}\.[\w.-]*",  # a token (JWT), or what is left of one
    r"((?i:bearer(?:\s+|\.|%20)))[\w.~+/=%-]{8,}",
    r"((?i:\bauthorization[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?))[^\s\"',]+",
    rf"({_NAMES}=)[^&#\s\"'<>]+",
    rf"({_NAMES}%3[Dd])[^\s\"'<>]+",
    rf"({_NAMES}[\"']?\s*[:=]\s*b?\")(?:[^\"\\]|\\.)*",
    rf"({_NAMES}[\"']?\s*[:=]\s*b?')(?:[^'\\]|\\.)*",
)
_ANY: Final = [re.compile(pattern) for pattern in _PATTERNS]
_URL: Final = re.compile(r"(://[^\s:/@]*:)(\S*)")


class Redactor:
    """Hides what looks like a secret, and the secrets that it knows, however they look."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known`: secrets as they are; those of less than `LEAST_LENGTH` characters are left to their looks."""
        longest_first = sorted({text for text in known if len(text) >= LEAST_LENGTH}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __repr__(self) -> str:
        return f"<Redactor knows_some={self._known is not None}>"

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern in _ANY:
            text = pattern.sub(_shown, text)
        return _URL.sub(_without_password, text)


def _shown(match: re.Match[str]) -> str:
    return (match[1] if match.re.groups else "") + HIDDEN


def _without_password(match: re.Match[str]) -> str:
    """Hide what stands before the last @ of the word, as passwords may have some."""
    end = match[2].rfind("@")
    return match[0] if end < 0 else f"{match[1]}{HIDDEN}{match[2][end:]}"
