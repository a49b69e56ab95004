"""What a door is: a path, who answers there, and what goes in and out; routes and `/openapi.json` follow from it."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tornado.httputil import HTTPMessageDelegate

from handlers.access import Needs
from handlers.base import JsonHandler
from pipeline.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelUnavailable,
    Overloaded,
    TooLarge,
    UnknownModel,
    WaterspoutError,
)

Errors = tuple[type[WaterspoutError], ...]

_PARAMETER = re.compile(r"\{(\w+)\}")

#: What every door may say to a path or a body that cannot be read.
OF_ANY: Final[Errors] = (InvalidInput,)
OF_BODIES: Final[Errors] = (InvalidInput, TooLarge)
OF_MODELS: Final[Errors] = (InvalidInput, UnknownModel, ModelUnavailable)
OF_ORDERS: Final[Errors] = (InvalidInput, InferenceFailed, Overloaded)
OF_INFERENCE: Final[Errors] = (*OF_MODELS, TooLarge, DeadlineExceeded, InferenceFailed)


class Operation(NamedTuple):
    """One method of a door.

    `gives` and `takes` are the types of the bodies, by media type: one type, a tuple for any of them, a list for an
    array of any of them, or None for bytes or text.
    `query` and `headers` name the parameters that are understood; `also` maps further statuses to their type.
    """

    gives: Mapping[str, Any]
    takes: Mapping[str, Any] = {}
    errors: Errors = OF_ANY
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    also: Mapping[int, Any] = {}
    takes_nothing: bool = False  # the body may be left out


class Door(NamedTuple):
    """A path, with `{parameters}`, and its handler; without operations it is no part of `/openapi.json`.

    A worker has those doors only that are `at_workers`.
    """

    path: str
    handler: type[JsonHandler | HTTPMessageDelegate]
    operations: Mapping[str, Operation] = {}
    at_workers: bool = False
    needs: Needs = Needs.IDENTITY

    @property
    def pattern(self) -> str:
        """The path as a regular expression with a group per parameter."""
        pieces = _PARAMETER.split(self.path)
        return "".join("([^/]+)" if at % 2 else re.escape(piece) for at, piece in enumerate(pieces))

    @property
    def speaks_v2(self) -> bool:
        """Whether its errors are those of the Open Inference Protocol."""
        return self.path.startswith("/v2")

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters in the path."""
        return _PARAMETER.findall(self.path)


def json(gives: Any, **options: Any) -> Operation:
    """Return an operation that answers in JSON."""
    return Operation({"application/json": gives}, **options)
