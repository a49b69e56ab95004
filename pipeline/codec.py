"""Messages as bytes: the only place that knows the encodings."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, get_args

import msgspec

from pipeline.errors import InvalidMessage, TooLarge, WaterspoutError
from pipeline.messages import (
    BinaryNumbersEvent,
    Control,
    Event,
    EventId,
    NumbersEvent,
    Salvage,
    ServerMessage,
    Subprotocol,
)
from pipeline.watch_messages import WatchMessage, WatchOrder

MAX_MESSAGES_PER_FRAME: Final = 1024
MAX_ORDERS_PER_FRAME: Final = 32

_LONGEST_SEARCHED: Final = 65536  # bytes of a text that are searched for a NaN to name
_LONGEST_TOLD: Final = 2000  # characters of a complaint of msgspec's
_OPERATIONS: Final = tuple(message.__struct_config__.tag for message in get_args(Control))
_WATCH_OPERATIONS: Final = tuple(message.__struct_config__.tag for message in get_args(WatchOrder))
_FOREIGN: Final = (msgspec.MsgspecError, RecursionError, ValueError)  # what decoding raises


T = TypeVar("T")
OrderT = TypeVar("OrderT", bound=WatchOrder)


class Refused(msgspec.Struct):
    """A message that could not be decoded, with the `id` to which its error is addressed."""

    error: WaterspoutError
    id: EventId | None = None


class Codec:
    """One encoding of the protocol. Two exist for clients: `JSON` and `MSGPACK`."""

    __slots__ = (
        "_control",
        "_order",
        "_salvage",
        "_split",
        "decode_event",
        "decode_numbers",
        "encode",
        "is_text",
        "media_type",
        "name",
        "subprotocol",
    )

    def __init__(self, name: str, media_type: str, subprotocol: str, is_text: bool) -> None:
        module = msgspec.json if is_text else msgspec.msgpack
        decoder: Any = module.Decoder
        self.name = name
        self.media_type = media_type
        self.subprotocol = subprotocol
        self.is_text = is_text
        #: Bytes to an event, one C pass. Raises whatever msgspec raises: `decode_each` then takes it apart.
        self.decode_event: Callable[[bytes], Event] = decoder(Event).decode
        #: The same for data that is numbers: quicker for models that take floats, where it does not raise.
        self.decode_numbers: Callable[[bytes], Event] = decoder(NumbersEvent if is_text else BinaryNumbersEvent).decode
        #: A message, or a list of messages, to bytes.
        self.encode: Callable[[ServerMessage | WatchMessage | list[ServerMessage]], bytes] = module.Encoder().encode
        self._split: Callable[[bytes], list[Any]] = decoder(list[msgspec.Raw]).decode
        self._order: Callable[[Any], WatchOrder] = decoder(WatchOrder).decode
        self._control: Callable[[Any], Control] = decoder(Control).decode
        self._salvage: Callable[[Any], Salvage] = decoder(Salvage).decode

    def __repr__(self) -> str:
        return f"<Codec {self.name}>"

    def split(self, payload: bytes) -> list[Any] | None:
        """Return the messages of a list without looking into them; None where the payload is no list.

        Raises what msgspec raises where it begins as a list, but is none.
        """
        if self.is_text:
            is_list = payload.lstrip()[:1] == b"["
        else:
            is_list = bool(payload) and (payload[0] & 0xF0 == 0x90 or payload[0] in (0xDC, 0xDD))
        return self._split(payload) if is_list else None

    def decode_each(self, payload: bytes) -> list[Event | Control | Refused]:
        """Decode message by message, so that a bad one in a list does not take its neighbours with it."""
        return self._each(payload, self._decode_one, MAX_MESSAGES_PER_FRAME)

    def decode_orders(self, payload: bytes) -> list[WatchOrder | Refused]:
        """Decode the messages of a watcher in the same way."""
        return self._each(payload, self._decode_order, MAX_ORDERS_PER_FRAME)

    def check_order(self, fields: dict[str, Any], kind: type[OrderT]) -> OrderT:
        """Return the order that these fields make. Raises `InvalidMessage` that names the one that is wrong."""
        try:
            return msgspec.convert(fields, kind)
        except msgspec.ValidationError as error:
            raise _translate(error) from error

    def _each(self, payload: bytes, decode: Callable[[Any], T], most: int) -> list[T | Refused]:
        try:
            items = self.split(payload)
        except _FOREIGN as error:
            return [Refused((self.is_text and _find_constant(payload)) or _translate(error))]
        if items is None:
            return [decode(payload)]
        if len(items) > most:
            return [Refused(TooLarge(f"a frame may hold {most} messages, got {len(items)}"))]
        return [decode(item) for item in items]

    def _decode_order(self, item: Any) -> WatchOrder | Refused:
        try:
            return self._order(item)
        except _FOREIGN as error:
            return Refused(_translate(error, operations=_WATCH_OPERATIONS))

    def _decode_one(self, item: Any) -> Event | Control | Refused:
        salvage = Salvage()
        fields = Event.__struct_fields__
        try:
            try:
                event = self.decode_event(item)
                if event.op is None:
                    return event
                salvage = Salvage(event.id, event.op)
            except _FOREIGN:
                salvage = self._salvage(item)
                if not isinstance(salvage.op, str):
                    raise
            fields = ()
            return self._control(item)
        except _FOREIGN as error:
            is_malformed = not isinstance(error, msgspec.ValidationError)
            constant = _find_constant(bytes(item)) if self.is_text and is_malformed else None
            return Refused(constant or _translate(error, fields), salvage.event_id)


def explain(error: Exception, payload: bytes) -> InvalidMessage:
    """Return what is wrong with a JSON text that msgspec refused with `error`, the name of the field first."""
    constant = None if isinstance(error, msgspec.ValidationError) else _find_constant(payload)
    return constant or _translate(error)


_PATH = re.compile(r"^(?P<text>.*?)(?: - at (?:`key` in )?`(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.*)`$", re.DOTALL)


def _translate(error: Exception, fields: Sequence[str] = (), operations: Sequence[str] = _OPERATIONS) -> InvalidMessage:
    """Return msgspec's complaint in the protocol's words: the field first, then what was expected."""
    if isinstance(error, RecursionError):
        return InvalidMessage("the message is nested too deep")
    if isinstance(error, UnicodeError):
        return InvalidMessage("a string is not valid UTF-8")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidMessage(str(error)[:200])
    told = str(error)
    if len(told) > _LONGEST_TOLD:  # a field with a long name; the path is at the end
        told = told[: _LONGEST_TOLD // 2] + told[-_LONGEST_TOLD // 2 :]
    if told.startswith("Invalid value ") and told.endswith("`$.op`"):
        return InvalidMessage(f"op: expected one of {', '.join(operations)}")
    matched = _PATH.match(told)
    text, path = (matched["text"], matched["path"]) if matched else (told, None)
    if unknown := _UNKNOWN.match(text):
        expected = f", expected one of {', '.join(fields)}" if fields else ""
        return InvalidMessage(f"{unknown['field'][:100] or 'a field without a name'}: unknown field{expected}")
    field = (path or "$").removeprefix("$").lstrip(".")
    if missing := _MISSING.match(text):
        return InvalidMessage(f"{field}.{missing['field']}: missing".lstrip("."))
    if " - at `key` in " in told:
        return InvalidMessage("the names of fields must be strings")
    text = text.replace("`", "").replace("got None", "got null")
    return InvalidMessage(f"{field}: {text[:1].lower()}{text[1:]}" if field else f"{text[:1].lower()}{text[1:]}")


def _find_constant(payload: bytes) -> InvalidMessage | None:
    """Return an error that names the first NaN or infinity in a text that is JSON but for those; None without any."""
    if len(payload) > _LONGEST_SEARCHED:
        return None
    try:
        found = _locate_constant(json.loads(payload, parse_constant=_Constant))
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    path = found[0].lstrip(".").encode(errors="replace").decode()
    return InvalidMessage(f"{path or 'message'}: expected a number, got {found[1]}, which JSON does not have")


def _locate_constant(value: Any) -> tuple[str, "_Constant"] | None:
    """Return the first constant in `value`, and the path to it."""
    if isinstance(value, _Constant):
        return "", value
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(item, dict | list | _Constant) and (found := _locate_constant(item)) is not None:
                return f".{name}{found[0]}" if isinstance(value, dict) else f"[{name}]{found[0]}", found[1]
    return None


class _Constant(str):
    """`NaN`, `Infinity` or `-Infinity` where a number should be."""

    __slots__ = ()


JSON: Final = Codec("json", "application/json", Subprotocol.JSON, is_text=True)
MSGPACK: Final = Codec("msgpack", "application/msgpack", Subprotocol.MSGPACK, is_text=False)
RELAY: Final = Codec("relay", "", "", is_text=False)  # of what processes tell each other, and no client can choose
CODECS: Final = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}
