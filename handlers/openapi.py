"""`/openapi.json`: what the doors take and give, from the types of the messages and the table of doors."""

import inspect
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from handlers.access import Needs
from handlers.base import SERVER_VERSION, STATUS, JsonHandler
from handlers.doors import Door, Operation
from handlers.open_inference import V2_STATUS
from handlers.state import ServerState
from pipeline.alerts import MAX_RECENT
from pipeline.errors import Forbidden, Unauthenticated
from pipeline.messages import Failure
from pipeline.v2_messages import ErrorMessage

_BEARER: Final = "An API key or token (JWT); needed where the server has credentials configured."
_REFERENCE: Final = "#/components/schemas/{name}"
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "model": {"type": "string", "minLength": 1},
    "file": {"type": "string", "minLength": 1},
    "version": {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"},
    "key": {"type": "string", "maxLength": 256},
    "since": {"type": "string", "format": "date-time"},
    "until": {"type": "string", "format": "date-time"},
    "session": {"type": "string", "minLength": 1},
    "identity": {"type": "string", "minLength": 1, "maxLength": 128},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_RECENT},
    "timings": {"type": "string", "enum": ["0", "1"]},
    "tensors": {"type": "string", "enum": ["bin", "list"]},
    "Inference-Header-Content-Length": {"type": "integer", "minimum": 0},
}


def document(doors: Sequence[Door]) -> dict[str, Any]:
    """Return the description of all doors that have operations, as OpenAPI 3.1 has it."""
    described = [door for door in doors if door.operations]
    kinds = [*dict.fromkeys(kind for door in described for body in _bodies(door) for kind in _flat(body))]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_type = dict(zip(kinds, schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waterspout",
            "version": SERVER_VERSION,
            "summary": "Live predictions for live streams; the WebSocket doors are described in docs/protocol.md.",
        },
        "paths": {
            door.path: {
                method.lower(): _operation(door, method, operation, by_type)
                for method, operation in door.operations.items()
            }
            for door in described
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _BEARER}},
        },
    }


def _bodies(door: Door) -> list[Any]:
    """Return everything that goes in or out."""
    bodies = [_error_type(door)]
    for operation in door.operations.values():
        bodies += [*operation.gives.values(), *operation.takes.values(), *operation.also.values()]
    return [body for body in bodies if body is not None]


def _flat(body: Any) -> list[Any]:
    """Return the types in a body."""
    return [kind for part in body for kind in _flat(part)] if isinstance(body, tuple | list) else [body]


def _schema(body: Any, by_type: Mapping[Any, Any]) -> Any:
    """Return the schema of a type, of a tuple as any of its members, or of a list as an array of any of them."""
    if isinstance(body, list):
        return {"type": "array", "items": _schema(tuple(body), by_type)}
    return {"anyOf": [_schema(kind, by_type) for kind in body]} if isinstance(body, tuple) else by_type[body]


def _operation(door: Door, method: str, operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    handler = door.handler
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}{door.path.replace('{', '').replace('}', '').replace('/', '_')}",
        "summary": _first_line(getattr(handler, method.lower())),
        "description": inspect.cleandoc(handler.__doc__ or ""),
        "parameters": [
            *({"name": n, "in": "path", "required": True, "schema": _PARAMETERS[n]} for n in door.parameters),
            *({"name": n, "in": "query", "schema": _PARAMETERS[n]} for n in operation.query),
            *({"name": n, "in": "header", "schema": _PARAMETERS[n]} for n in operation.headers),
        ],
        "responses": {"200": {"description": "OK", "content": _content(operation.gives, schemas)}},
    }
    if operation.takes:
        described["requestBody"] = {
            "required": not operation.takes_nothing,
            "content": _content(operation.takes, schemas),
        }
    status_of = V2_STATUS if door.speaks_v2 else STATUS
    errors = operation.errors
    if door.needs is not Needs.NOTHING:
        described["security"] = [{"bearer": []}, {}]
        errors += (Unauthenticated, Forbidden)
    wrong = {error.code: status_of[error.code] for error in errors}
    error = {media_type: _error_type(door) for media_type in operation.gives if media_type in _ERRORS_IN}
    content = _content(error or {"application/json": _error_type(door)}, schemas)
    for status in sorted(set(wrong.values())):
        codes = ", ".join(code for code, its in wrong.items() if its == status)
        described["responses"][str(status.value)] = {"description": f"{status.phrase}: {codes}", "content": content}
    for number, kind in operation.also.items():
        content = _content({"application/json": kind}, schemas)
        described["responses"][str(number)] = {"description": HTTPStatus(number).phrase, "content": content}
    return described


_ERRORS_IN: Final = ("application/json", "application/msgpack")


def _error_type(door: Door) -> Any:
    return ErrorMessage if door.speaks_v2 else Failure


def _content(bodies: Mapping[str, Any], schemas: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        media_type: {} if body is None else {"schema": _schema(body, schemas)} for media_type, body in bodies.items()
    }


def _first_line(method: Any) -> str:
    return inspect.cleandoc(method.__doc__ or "").partition("\n")[0].rstrip(".")


class OpenApiHandler(JsonHandler):
    """`GET /openapi.json`."""

    def initialize(self, state: ServerState, needs: Needs, description: bytes) -> None:  # type: ignore[override]
        """Take the document too, which is made once."""
        super().initialize(state, needs)
        self._description = description

    def get(self) -> None:
        """Describe the HTTP doors."""
        self.set_header("Content-Type", "application/json")
        self.finish(self._description)
