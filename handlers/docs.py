"""`/docs`: Swagger UI over `/openapi.json`, all of it served from here."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import tornado.web

from handlers.base import JsonHandler

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Waterspout</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="doors"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START: Final = b'SwaggerUIBundle({url: "/openapi.json", dom_id: "#doors", validatorUrl: null});\n'
_TYPES: Final = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}


class DocsHandler(JsonHandler):
    """`GET /docs`, and the files that it is made of."""

    def get(self, name: str = "") -> None:
        """Write the page, or one of its files."""
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_page_headers()
        if not name:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(_PAGE)
        elif name == "start.js":
            self.set_header("Content-Type", "text/javascript; charset=utf-8")
            self.finish(_START)
        elif name in _TYPES:
            self.set_header("Content-Type", _TYPES[name])
            self.set_header("Cache-Control", "max-age=86400")
            self.finish(_read(name))
        else:
            raise tornado.web.HTTPError(404, "no such file")


def _read(name: str) -> bytes:
    """Return a file of Swagger UI's; 404 where the package is not installed."""
    package = find_spec("swagger_ui")  # found, not imported: only its files are of use
    if package is None or not package.submodule_search_locations:
        raise tornado.web.HTTPError(404, "swagger-ui-py is not installed")
    return (Path(package.submodule_search_locations[0]) / "static" / name).read_bytes()
