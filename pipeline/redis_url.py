"""The form of a Redis URL. Nothing that is said here repeats the password."""

from urllib.parse import SplitResult, parse_qsl, urlsplit

SCHEMES = ("redis", "rediss", "unix")
OPTIONS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")  # options that name a file
EXPECTED = "expected redis://[user:password@]host[:port][/db], rediss://... (TLS) or unix:///path"


def check_url(url: str) -> None:
    """Raise `ValueError` that says what is wrong with the form of a URL."""
    if "#" in url:
        raise ValueError("a # in a user or password is written %23")
    parts = _split(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"no scheme of Redis; {EXPECTED}")
    if parts.scheme == "unix" and (not parts.path.startswith("/") or parts.path == "/" or parts.hostname):
        raise ValueError(f"no path of a socket; {EXPECTED}")
    if parts.scheme != "unix" and not parts.hostname:
        raise ValueError(f"no host; {EXPECTED}")
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path[1:].isdecimal():
        raise ValueError("the path is no number of a database")
    _check_options(parts)


def has_password(url: str) -> bool:
    """Return whether a URL has a password, well formed or not."""
    return ":" in url.partition("://")[2].rpartition("@")[0] or "password=" in url


def place(url: str) -> str:
    """Return what a well-formed URL points at, for logs: host and port, or a path."""
    parts = _split(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


def host(url: str) -> str:
    """Return the host of a well-formed URL; empty for the path of a socket."""
    return _split(url).hostname or ""


def at(url: str, host: str, port: int) -> str:
    """Return a well-formed URL that leads to another host, with the same user, password and options."""
    parts = _split(url)
    user, at_sign, _ = parts.netloc.rpartition("@")
    name = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{user}{at_sign}{name}:{port}").geturl()


def named_files(url: str) -> dict[str, str]:
    """Return the files that a well-formed URL names, by option."""
    return {name: value for name, value in parse_qsl(_split(url).query) if name in FILES}


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"no URL, or no port between 0 and 65535; {EXPECTED}") from None
    return parts


def _check_options(parts: SplitResult) -> None:
    try:
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError("what follows the ? are no options") from None
    unknown = sorted(options.keys() - OPTIONS)
    if unknown:
        raise ValueError(f"unknown option {unknown[0][:32]!r}; there are {', '.join(sorted(OPTIONS))}")
    if not options.get("db", "0").isdecimal():
        raise ValueError("db is no number")
    if options.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise ValueError("ssl_cert_reqs: expected none, optional or required")
    if parts.scheme != "rediss" and any(name.startswith("ssl_") for name in options):
        raise ValueError("options of TLS need rediss://")
