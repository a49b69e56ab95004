"""One connection's state: what it may still send, what is under way, and who is told.

Every accepted event ends exactly once: with a prediction, with an error, dropped by policy and counted in a `gap`,
absorbed by a window, or cancelled because its connection is gone.
"""

from msgspec import UNSET

from pipeline.codec import MSGPACK, Codec, Refused
from pipeline.errors import (
    CloseCode,
    DecodedForAnother,
    InvalidInput,
    InvalidMessage,
    Overloaded,
    ShuttingDown,
    UnknownModel,
    WaterspoutError,
)
from pipeline.interfaces import KeyBudget, Models, Outlet, Overflow, ServingModel, SessionOptions
from pipeline.messages import Control, Event, Gap, Ping, Pong, Reset
from pipeline.routes import Route
from pipeline.stream import Stream, StreamJob, failure
from pipeline.tensors import Row, Shapes
from pipeline.window import Window


class Session:
    """The events of one connection. Not thread-safe; all times are monotonic seconds."""

    __slots__ = (
        "_budget",
        "_defaults",
        "_draining",
        "_drops",
        "_malformed",
        "_malformed_seq",
        "_max_in_flight",
        "_model",
        "_models",
        "_next_eviction",
        "_plain",
        "_seq",
        "_streams",
        "_version",
        "bytes_codec",
        "in_flight",
        "options",
        "outlet",
        "silent",
        "takes_numbers",
        "timings",
    )

    def __init__(
        self,
        models: Models,
        outlet: Outlet,
        options: SessionOptions,
        budget: KeyBudget,
        model: str | None = None,
        version: str | None = None,
    ) -> None:
        self._models = models
        self.outlet = outlet
        self._budget = budget
        self._model = model
        self._version = version
        self._streams: dict[tuple[str, str | None, str | None], Stream] | None = None  # by model, version and key
        self._defaults: dict[tuple[str, str | None], Stream] | None = None  # of events without a key
        self.takes_numbers = False  # the model's data may come as NumbersEvent
        self._plain: Stream | None = None  # where an event with neither key nor model belongs, once known
        self._seq = 0
        self._malformed = 0  # in a row, the last of them being number
        self._malformed_seq = -1
        self._draining = False
        self._next_eviction = 0.0
        self.options = options
        self.bytes_codec = None if options.lists else MSGPACK
        self.silent = options.silent
        self.timings = options.timings
        self.in_flight = 0
        self._max_in_flight = options.max_in_flight
        self._drops = options.overflow is not Overflow.REJECT

    def __repr__(self) -> str:
        keys = len(self._streams or ())
        return f"<Session {self._model or '*'} in_flight={self.in_flight} keys={keys} events={self._seq}>"

    def receive(self, payload: bytes, codec: Codec, now: float) -> None:
        """Take the payload of one frame: an event, a control message, or a list of them."""
        for message in codec.decode_each(payload):
            if isinstance(message, Event):
                self.accept(message, codec, now)
            elif not isinstance(message, Refused):
                self._control(message, codec)
            elif not self.refuse_message(message, codec):
                return

    def accept(self, event: Event, codec: Codec, now: float) -> None:
        """Give an event to its stream, or answer it with an error at once.

        Raises `DecodedForAnother` where it came as a `NumbersEvent` and the model takes none any more.
        """
        stream = self._plain
        try:
            if stream is None or event.key is not None or event.model is not None or event.version is not None:
                stream = self._stream_of(event, codec, now)
            if stream.route.current is not stream.model:
                self._follow(stream, event)
            timeout_ms = event.timeout_ms
            deadline = now + (
                stream.default_timeout if timeout_ms is None else min(timeout_ms * 1e-3, stream.max_timeout)
            )
            if stream.window is None:
                data = event.data
                if isinstance(data, bytes) and len(data) == stream.row_bytes:
                    row: Row = (data,)
                    shapes: Shapes | None = None
                else:
                    row, shapes = stream.model.parse(data, event.__class__ is not Event)
                    event.data = UNSET  # many small objects, freed while the next event can have their memory
                if self.in_flight >= self._max_in_flight or self._drops:
                    self._make_room(stream, 1)
                stream.submit(row, shapes, event, self._seq, codec, now, deadline)
            else:
                self._accept_samples(stream, stream.window, event, codec, now, deadline)
        except WaterspoutError as error:
            if stream is not None and stream.key is not None and stream.is_unused:
                self._forget([stream])
            self._refuse(error, event.id, event.key, codec)
        else:
            self._seq += 1

    @property
    def event_count(self) -> int:
        """How many events came, refused ones included."""
        return self._seq

    def refuse_message(self, refused: Refused, codec: Codec) -> bool:
        """Answer a message that could not be decoded; return False where too many in a row closed the connection."""
        self._malformed = self._malformed + 1 if self._seq == self._malformed_seq + 1 else 1
        self._malformed_seq = self._seq
        self._refuse(refused.error, refused.id, None, codec)
        if self._malformed < self.options.max_malformed:
            return True
        self.outlet.close(CloseCode.MALFORMED_MESSAGES, f"{self._malformed} malformed messages in a row")
        return False

    @property
    def is_single(self) -> bool:
        """Whether the connection is for one model."""
        return self._model is not None

    def drain(self) -> None:
        """Refuse all further events; what was accepted is still answered."""
        self._draining = True
        self._plain = None

    def close(self) -> None:
        """Cancel what is under way and give all keys back: the connection is gone."""
        self.drain()
        for stream in self.streams():
            stream.cancel()
        self._budget.count -= len(self._streams or ())
        self._streams = None
        self._defaults = None

    def evict_idle(self, now: float) -> None:
        """Forget the keys that were silent for `key_idle_seconds`; call it about once a second."""
        if now < self._next_eviction:
            return
        self._next_eviction = now + self.options.key_idle_seconds / 8
        for stream in self.streams():
            stream.let_go()
            if stream.route.current is not stream.model:
                self._catch_up(stream)
        before = now - self.options.key_idle_seconds
        self._forget([s for s in (self._streams or {}).values() if s.used_at <= before and not s.pending])

    def model_of(self, stream: Stream) -> str | None:
        """Return the model's name for messages where the socket alone does not tell it."""
        return None if self._model else stream.route.name

    def _control(self, message: Control, codec: Codec) -> None:
        if isinstance(message, Ping):
            self.outlet.send_message(Pong(message.t), codec)
        elif isinstance(message, Reset):
            for stream in self.streams():
                wanted = message.model is None or message.model == stream.route.name
                key = message.key if message.key is not None else self.options.default_key
                if wanted and stream.key == key and stream.window is not None:
                    stream.window.clear()

    def _refuse(self, error: WaterspoutError, event_id: int | str | None, key: str | None, codec: Codec) -> None:
        seq = self._seq
        self._seq = seq + 1
        self.outlet.send_message(failure(error, event_id, seq, key), codec, seq)

    def _accept_samples(
        self, stream: Stream, window: Window, event: Event, codec: Codec, now: float, deadline: float
    ) -> None:
        samples, count = stream.model.samples(event.data)
        stream.model.check_priority(event.priority or 0)
        rows = window.rows_after(count)
        most = min(self._max_in_flight, stream.model.max_queue_size)
        if rows > most:
            raise InvalidInput(f"data: {count} samples complete {rows} windows, at most {most} fit")
        if rows:
            self._make_room(stream, rows)
        for row in window.push(samples):
            stream.submit((row,), None, event, self._seq, codec, now, deadline)

    def _make_room(self, stream: Stream, count: int) -> None:
        """Make room for `count` rows as the overflow policy says. Raises `Overloaded` and has then changed nothing."""
        options = self.options
        short = count - stream.model.room_for(self.outlet)
        over = max(self.in_flight + count - options.max_in_flight, short)
        if options.overflow is Overflow.REJECT:
            if over <= 0:
                return
            waiting: list[StreamJob] = []
        else:
            waiting = stream.waiting(own=short > 0)
        if over > len(waiting):
            if self.in_flight + count > options.max_in_flight:
                raise Overloaded(f"more than {options.max_in_flight} events in flight on this socket (max_in_flight)")
            raise Overloaded("the model's queue, or this connection's share of it, is full (max_queue_size)")
        drops = len(waiting) if options.overflow is Overflow.LATEST else over
        for job in waiting[: max(drops, 0)]:
            if job.number in stream.pending:
                stream.drop(job)
        if self._draining:  # an answer that a drop released has closed the connection
            raise ShuttingDown("the connection is closed")

    def _stream_of(self, event: Event, codec: Codec, now: float) -> Stream:
        """Return the event's stream, made if it is new. Raises where the model or the key is not to be had."""
        if self._draining:
            raise ShuttingDown("the server is shutting down")
        key = event.key if event.key is not None else self.options.default_key
        name, version = self._model, self._version
        if name is None or event.model is not None or event.version is not None:
            name, version = self._place_of(event)
        if key is None:
            return self._default_stream(name, version, event, codec, now)
        streams = self._streams
        if streams is None:
            streams = self._streams = {}
        stream = streams.get((name, version, key))
        if stream is None:
            route = self._models.route(name, version)
            self._make_room_for_key(streams)
            stream = streams[name, version, key] = self._new_stream(route, key, event, codec, now)
            self._budget.count += 1
        stream.used_at = now
        return stream

    def _default_stream(self, name: str, version: str | None, event: Event, codec: Codec, now: float) -> Stream:
        """Return the stream of the events without a key: one, or one per model on a socket for many."""
        if self._defaults is None:
            self._defaults = {}
        stream = self._defaults.get((name, version))
        if stream is None:
            stream = self._new_stream(self._models.route(name, version), None, event, codec, now)
            self._defaults[name, version] = stream
        if self._model is not None:
            self._plain = stream
        return stream

    def _new_stream(self, route: Route, key: str | None, event: Event, codec: Codec, now: float) -> Stream:
        model = route.current
        assert model is not None
        self._note_model(model, event)
        return Stream(self, route, model, key, codec, now)

    def _note_model(self, model: ServingModel, event: Event | None) -> None:
        """Take note of how a model wants its events decoded, and whether this one was."""
        if self._model is not None:
            self.takes_numbers = model.takes_numbers
            if event is not None and event.__class__ is not Event and not model.takes_numbers:
                raise DecodedForAnother

    def _follow(self, stream: Stream, event: Event | None = None) -> None:
        """Lead a stream to the model that its route leads to now. Raises where there is none, or as `accept` does."""
        route = stream.route
        if route.current is None:
            route = stream.route = self._models.route(route.name, route.version)
        model = route.current
        assert model is not None
        if model is not stream.model:
            lost = stream.follow(model)
            if lost:
                self.outlet.send_message(Gap(lost, "model_changed", stream.key, self.model_of(stream)), stream.codec)
        self._note_model(model, event)

    def _catch_up(self, stream: Stream) -> None:
        """Let go of models that serve no more, so that a silent stream does not keep them in memory."""
        try:
            self._follow(stream)
        except WaterspoutError:
            if not stream.pending:
                self._forget([stream], "model_changed")

    def _place_of(self, event: Event) -> tuple[str, str | None]:
        """Return the model and the version that an event which names one of them belongs to."""
        name = event.model if event.model is not None else self._model
        version = None if event.version is None else str(event.version)
        if name is None:
            raise InvalidMessage("model: missing, this socket serves many models")
        if self._model is None:
            return name, version
        if name != self._model:
            raise InvalidMessage(f"model: this socket serves {self._model!r} only; /v1/stream serves many")
        if version is not None and self._models.get(name, version) is not self._models.get(name, self._version):
            raise UnknownModel(f"version: {version[:100]} of {name!r} is not served on this socket")
        return name, self._version

    def _make_room_for_key(self, streams: dict[tuple[str, str | None, str | None], Stream]) -> None:
        if len(streams) < self.options.max_keys and self._budget.count < self._budget.limit:
            return
        self._forget([stream for stream in streams.values() if stream.is_disposable])
        if len(streams) >= self.options.max_keys:
            raise Overloaded(f"key: this socket holds {self.options.max_keys} keys already (max_keys_per_socket)", 1000)
        if self._budget.count >= self._budget.limit:
            raise Overloaded(f"key: the server holds {self._budget.limit} keys already (max_keys)", 1000)

    def _forget(self, streams: list[Stream], why: str = "idle") -> None:
        for stream in streams:
            route = stream.route
            if stream.key is None:
                assert self._defaults is not None
                del self._defaults[route.name, route.version]
                if stream is self._plain:
                    self._plain = None
            else:
                assert self._streams is not None
                del self._streams[route.name, route.version, stream.key]
                self._budget.count -= 1
        for stream in streams:
            stream.end()
            if stream.window:
                gap = Gap(len(stream.window), why, stream.key, self.model_of(stream))
                self.outlet.send_message(gap, stream.codec)

    def streams(self) -> list[Stream]:
        """Return all keys, and the stream of the events without one."""
        return [*(self._streams or {}).values(), *(self._defaults or {}).values()]
