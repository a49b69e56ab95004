"""`/`: the dashboard, its files, and the charts library that npm installed."""

import re
from pathlib import Path
from typing import Final

import tornado.web

from handlers.base import JsonHandler

_ROOT: Final = Path(__file__).parents[1]
_PAGE: Final = _ROOT / "static"
_VENDOR: Final = {
    "uplot.js": _ROOT / "node_modules" / "uplot" / "dist" / "uPlot.esm.js",
    "uplot.css": _ROOT / "node_modules" / "uplot" / "dist" / "uPlot.min.css",
}
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*\.[a-z]+")
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src {connect}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class FilesHandler(JsonHandler):
    """Files that the browser asks for again each time, and is told that they have not changed."""

    def send_file(self, path: Path) -> None:
        """Write a file. Raises `HTTPError` 404 where there is none of a kind that is served."""
        media_type = _TYPES.get(path.suffix)
        if media_type is None or not path.is_file():
            raise tornado.web.HTTPError(404, "no such file")
        self.set_header("Content-Type", media_type)
        self.set_header("Cache-Control", "no-cache")
        self.finish(path.read_bytes())


class DashboardHandler(FilesHandler):
    """`GET /`."""

    def get(self) -> None:
        """Write the page and the policy that binds it."""
        self.set_page_headers()
        self.set_header("Content-Security-Policy", policy(self.request.host))
        self.send_file(_PAGE / "index.html")


class StaticHandler(FilesHandler):
    """`GET /static/{file}`."""

    folder = _PAGE

    def get(self, name: str) -> None:
        """Write one of the page's files."""
        if not _NAME.fullmatch(name):
            raise tornado.web.HTTPError(404, "no such file")
        self.send_file(self.folder / name)


class ScriptHandler(StaticHandler):
    """`GET /static/js/{file}`."""

    folder = _PAGE / "js"


class VendorHandler(FilesHandler):
    """`GET /vendor/{file}`: what `make run` installed with npm."""

    def get(self, name: str) -> None:
        """Write a file of uPlot's."""
        path = _VENDOR.get(name)
        if path is None:
            raise tornado.web.HTTPError(404, "no such file")
        if not path.is_file():
            raise tornado.web.HTTPError(404, "uPlot is not installed: run make")
        self.send_file(path)


def policy(host: str) -> str:
    """Return the Content-Security-Policy of the page on a host: nothing inline, nothing from elsewhere.

    Older browsers do not count WebSockets as `'self'`, so the host is named where it reads like one.
    """
    connect = f"'self' ws://{host} wss://{host}" if _HOST.fullmatch(host) else "'self'"
    return _POLICY.format(connect=connect)
