"""One connection's state: what it may still send, what is under way, and who is told.

Every accepted event ends exactly once: with a prediction, with an error, dropped by policy and counted in a `gap`,
absorbed by a window, or cancelled because its connection is gone.
"""

from msgspec import UNSET

from pipeline.accounts import Account
from pipeline.codec import MSGPACK, Codec, Refused
from pipeline.errors import CloseCode, InvalidInput, Overloaded, ShuttingDown, WaterspoutError
from pipeline.interfaces import KeyBudget, Models, Outlet, Overflow, SessionOptions
from pipeline.messages import Auth, Control, Event, Ping, Pong, Reset
from pipeline.stream import Stream, StreamJob, failure
from pipeline.streams import Streams
from pipeline.tensors import Row, Shapes
from pipeline.window import Window


class Session:
    """The events of one connection. Not thread-safe; all times are monotonic seconds."""

    __slots__ = (
        "_draining",
        "_drops",
        "_malformed",
        "_malformed_seq",
        "_max_in_flight",
        "_seq",
        "_streams",
        "account",
        "bytes_codec",
        "in_flight",
        "options",
        "outlet",
        "silent",
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
        account: Account | None = None,
    ) -> None:
        """`account`: who pays; None where nothing is counted and bounded by that."""
        self.outlet = outlet
        self.account = account
        self._streams = Streams(self, models, budget, model, version)
        self._seq = 0
        self._malformed = 0  # in a row, the last of them being number
        self._malformed_seq = -1
        self._draining = False
        self.options = options
        self.bytes_codec = None if options.lists else MSGPACK
        self.silent = options.silent
        self.timings = options.timings
        self.in_flight = 0
        self._max_in_flight = options.max_in_flight
        self._drops = options.overflow is not Overflow.REJECT

    def __repr__(self) -> str:
        streams = self._streams
        return f"<Session {streams.model or '*'} in_flight={self.in_flight} keys={len(streams)} events={self._seq}>"

    def receive(self, payload: bytes, codec: Codec, now: float) -> None:
        """Take the payload of one frame: an event, a control message, or a list of them."""
        messages = codec.decode_each(payload)
        size = len(payload) // max(len(messages), 1)
        for message in messages:
            if isinstance(message, Event):
                self.accept(message, codec, now, size)
            elif not isinstance(message, Refused):
                self._control(message, codec, now)
            elif not self.refuse_message(message, codec, now, size):
                return

    def accept(self, event: Event, codec: Codec, now: float, size: int = 0) -> None:
        """Give an event that came as `size` bytes to its stream, or answer it with an error at once.

        Raises `DecodedForAnother` where it came as a `NumbersEvent` and the model takes none any more.
        """
        stream = self._streams.plain
        try:
            if stream is None or event.key is not None or event.model is not None or event.version is not None:
                if self._draining:
                    raise ShuttingDown("the server is shutting down")
                stream = self._streams.of(event, codec, now)
            if stream.route.current is not stream.model:
                self._streams.follow(stream, event)
            if self.account is not None:
                self.account.take_event(size, now)
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
            if stream is not None:
                self._streams.discard_unused(stream)
            self._refuse(error, event.id, event.key, codec)
        else:
            self._seq += 1
            tally = stream.tally
            if tally is not None:
                tally.events += 1
                tally.bytes += size

    @property
    def event_count(self) -> int:
        """How many events came, refused ones included."""
        return self._seq

    def admits(self, size: int, codec: Codec, now: float) -> bool:
        """Return whether a frame of so many bytes is worth decoding; where it is not, that was answered."""
        if self.account is None or not self.account.meter.check_size(size, now):
            return True
        self._refuse(self.account.meter.refused, None, None, codec)
        return False

    def refuse_message(self, refused: Refused, codec: Codec, now: float = 0.0, size: int = 0) -> bool:
        """Answer a message of `size` bytes that could not be decoded, and has to be paid for as an event has.

        Return False where too many in a row closed the connection.
        """
        if self.account is not None:
            self.account.meter.take_event(size, now)
        self._malformed = self._malformed + 1 if self._seq == self._malformed_seq + 1 else 1
        self._malformed_seq = self._seq
        self._refuse(refused.error, refused.id, None, codec)
        if self._malformed < self.options.max_malformed:
            return True
        self.outlet.close(CloseCode.MALFORMED_MESSAGES, f"{self._malformed} malformed messages in a row")
        return False

    @property
    def key_count(self) -> int:
        """How many keys it has."""
        return len(self._streams)

    @property
    def is_single(self) -> bool:
        """Whether the connection is for one model."""
        return self._streams.model is not None

    @property
    def takes_numbers(self) -> bool:
        """Whether the model's data may come as `NumbersEvent`."""
        return self._streams.takes_numbers

    def recount(self) -> None:
        """Count what comes from now on for the account's new identity."""
        if self.account is not None:
            for stream in self._streams.all():
                stream.tally = self.account.tally(stream.route.name)

    def streams(self) -> list[Stream]:
        """Return those of all keys, and those of the events without one."""
        return self._streams.all()

    def model_of(self, stream: Stream) -> str | None:
        """Return the model's name for messages where the socket alone does not tell it."""
        return None if self.is_single else stream.route.name

    def drain(self) -> None:
        """Refuse all further events; what was accepted is still answered."""
        self._draining = True
        self._streams.plain = None

    def close(self) -> None:
        """Cancel what is under way and give all keys back: the connection is gone."""
        self.drain()
        self._streams.close()

    def evict_idle(self, now: float) -> None:
        """Forget the keys that were silent for `key_idle_seconds`; call it about once a second."""
        self._streams.evict_idle(now)

    def _control(self, message: Control, codec: Codec, now: float) -> None:
        if self.account is not None:
            try:
                self.account.take_control(now)
            except WaterspoutError as error:
                self._refuse(error, None, None, codec)
                return
        if isinstance(message, Ping):
            self.outlet.send_message(Pong(message.t), codec)
        elif isinstance(message, Auth):
            self.outlet.authenticate(message.token)
        elif isinstance(message, Reset):
            self._streams.reset(message.model, message.key)

    def _refuse(self, error: WaterspoutError, event_id: int | str | None, key: str | None, codec: Codec) -> None:
        seq = self._seq
        self._seq = seq + 1
        self.outlet.send_message(failure(error, event_id, seq, key), codec, seq)
        if self.account is not None and self.account.meter.is_abusive:
            self.outlet.close(CloseCode.TOO_MANY_REQUESTS, "goes on after it was told to wait")

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
