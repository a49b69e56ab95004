"""The id by which a request is found again in the log."""

import os
import re
from typing import Final

from tornado.httputil import HTTPServerRequest

REQUEST_ID: Final = "X-Request-Id"

_GIVEN: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(request: HTTPServerRequest) -> str:
    """Return the id that the client or a proxy gave a request, or else one that it keeps from now on."""
    given = request.headers.get(REQUEST_ID, "")
    if not _GIVEN.fullmatch(given):
        given = request.headers[REQUEST_ID] = os.urandom(8).hex()
    return given
