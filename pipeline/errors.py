"""What can go wrong with an event, as types.

    WaterspoutError
    ├── InvalidMessage       the frame is no message of the protocol
    ├── InvalidInput         the message is fine, its tensor does not fit the model
    ├── TooLarge             more bytes than a limit allows
    ├── UnknownModel         no model of that name or version
    ├── ModelUnavailable     the model exists, but cannot serve now
    ├── Overloaded           a bound was reached; try again later
    ├── DeadlineExceeded     the deadline has passed or cannot be met any more; not run
    ├── InferenceFailed      the model itself failed on this row
    ├── ShuttingDown         the server is draining
    ├── Unauthenticated      no credential, or none that is accepted
    ├── UnknownSession       no socket of that name is open here
    ├── Forbidden            the credential is fine, and does not allow this
    ├── RateLimited          more than the credential or the address may ask for; try again later
    └── ConfigError          a file or setting of the operator is wrong

Each carries the protocol's `code` and whether a client may simply try again. `DecodedForAnother` is told to nobody.
"""

from enum import IntEnum
from typing import ClassVar


class CloseCode(IntEnum):
    """Why a socket is closed: RFC 6455 section 7.4.1, then this protocol's own.

    4000-4499: reconnect with backoff and full jitter. 4500-4999: do not reconnect as you are.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_UTF8 = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SLOW_CONSUMER = 4008
    CLOSED_BY_OPERATOR = 4010
    NO_PONG = 4012
    TOO_MANY_REQUESTS = 4013
    OVERLOADED = 4014
    BAD_CREDENTIALS = 4500
    MALFORMED_MESSAGES = 4501
    FORBIDDEN = 4503


class WaterspoutError(Exception):
    """Base of all errors that a client or an operator is told about."""

    code: ClassVar[str] = "inference_failed"
    retryable: ClassVar[bool] = False
    retry_after_ms: int | None = None


class InvalidMessage(WaterspoutError):
    """The payload is not a message of the protocol."""

    code = "invalid_message"


class InvalidInput(WaterspoutError):
    """The event's tensor does not fit the model's input."""

    code = "invalid_input"


class TooLarge(WaterspoutError):
    """A payload exceeds a limit in bytes or items."""

    code = "too_large"


class UnknownModel(WaterspoutError):
    """No model (or version) of that name is served."""

    code = "unknown_model"


class ModelUnavailable(WaterspoutError):
    """The model exists, but cannot answer now."""

    code = "model_unavailable"
    retryable = True


class Overloaded(WaterspoutError):
    """A queue, window or table is full: nothing was changed, the event may be sent again."""

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, retry_after_ms: int = 100) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class DeadlineExceeded(WaterspoutError):
    """The event's deadline passed while it waited, or could not be met any more; it was not run."""

    code = "deadline_exceeded"
    retryable = True


class InferenceFailed(WaterspoutError):
    """The model failed on this row alone."""

    code = "inference_failed"


class ShuttingDown(WaterspoutError):
    """The server no longer takes events."""

    code = "shutting_down"
    retryable = True


class Unauthenticated(WaterspoutError):
    """There is no credential, or it is not accepted (any more). The message never repeats it."""

    code = "unauthenticated"


class UnknownSession(WaterspoutError):
    """No socket of that name is open here."""

    code = "unknown_session"


class Forbidden(WaterspoutError):
    """The scopes of the credential do not allow this."""

    code = "forbidden"


class RateLimited(WaterspoutError):
    """An identity or an address asks for more than it may: nothing was changed, it may be sent again."""

    code = "rate_limited"
    retryable = True

    def __init__(self, message: str, retry_after_ms: int = 1000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class ConfigError(WaterspoutError):
    """A setting, a model's config.toml or a model file is wrong; the message names file, key and reason."""

    code = "model_unavailable"


#: Those that travel from a worker to a gateway.
BY_CODE: dict[str, type[WaterspoutError]] = {
    error.code: error
    for error in (InvalidInput, ModelUnavailable, Overloaded, DeadlineExceeded, InferenceFailed, ShuttingDown)
}


class DecodedForAnother(Exception):
    """The model behind a session has changed since an event was decoded as numbers: decode it again."""
