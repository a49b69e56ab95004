"""All keys of one connection: which stream an event belongs to, how many there may be, and when one is forgotten."""

from typing import TYPE_CHECKING

from pipeline.codec import Codec
from pipeline.errors import DecodedForAnother, InvalidMessage, Overloaded, UnknownModel, WaterspoutError
from pipeline.interfaces import KeyBudget, Models, ServingModel
from pipeline.messages import Event, Gap
from pipeline.routes import Route
from pipeline.stream import Stream

if TYPE_CHECKING:
    from pipeline.session import Session


class Streams:
    """The streams of one session, by model, version and key. All times are monotonic seconds."""

    __slots__ = (
        "_budget",
        "_keyed",
        "_models",
        "_next_eviction",
        "_session",
        "_unkeyed",
        "_version",
        "model",
        "plain",
        "takes_numbers",
    )

    def __init__(
        self, session: "Session", models: Models, budget: KeyBudget, model: str | None, version: str | None
    ) -> None:
        """`model` and `version` are the only ones that events may name; None: each names its own."""
        self._session = session
        self._models = models
        self._budget = budget
        self.model = model
        self._version = version
        self._keyed: dict[tuple[str, str | None, str | None], Stream] | None = None  # by model, version and key
        self._unkeyed: dict[tuple[str, str | None], Stream] | None = None  # of events without a key
        self.plain: Stream | None = None  # where an event with neither key nor model belongs, once known
        self.takes_numbers = False  # the model's data may come as NumbersEvent
        self._next_eviction = 0.0

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._keyed or ())

    def __repr__(self) -> str:
        return f"<Streams {self.model or '*'} keys={len(self)}>"

    def all(self) -> list[Stream]:
        """Return those of all keys, and those of the events without one."""
        return [*(self._keyed or {}).values(), *(self._unkeyed or {}).values()]

    def of(self, event: Event, codec: Codec, now: float) -> Stream:
        """Return the event's stream, made if it is new. Raises where the model or the key is not to be had."""
        session = self._session
        key = event.key if event.key is not None else session.options.default_key
        name, version = self.model, self._version
        if name is None or event.model is not None or event.version is not None:
            name, version = self._place_of(event)
        if key is None:
            return self._unkeyed_stream(name, version, event, codec, now)
        keyed = self._keyed
        if keyed is None:
            keyed = self._keyed = {}
        stream = keyed.get((name, version, key))
        if stream is None:
            route = self._models.route(name, version)
            self._make_room_for_key(keyed)
            if session.account is not None:
                session.account.meter.take_key()
            stream = keyed[name, version, key] = self._new_stream(route, key, event, codec, now)
            self._budget.count += 1
        stream.used_at = now
        return stream

    def follow(self, stream: Stream, event: Event | None = None) -> None:
        """Lead a stream to the model that its route leads to now.

        Raises where there is none, or `DecodedForAnother` as `Session.accept` does.
        """
        route = stream.route
        if route.current is None:
            route = stream.route = self._models.route(route.name, route.version)
        model = route.current
        assert model is not None
        if model is not stream.model:
            lost = stream.follow(model)
            if lost:
                self._tell_gap(stream, lost, "model_changed")
        self._note_model(model, event)

    def reset(self, model: str | None, key: str | None) -> None:
        """Empty the windows of a key (None: the default one), of one model or of all."""
        if key is None:
            key = self._session.options.default_key
        for stream in self.all():
            if stream.key == key and stream.window is not None and model in (None, stream.route.name):
                stream.window.clear()

    def evict_idle(self, now: float) -> None:
        """Forget the keys that were silent for `key_idle_seconds`; call it about once a second."""
        if now < self._next_eviction:
            return
        idle_seconds = self._session.options.key_idle_seconds
        self._next_eviction = now + idle_seconds / 8
        for stream in self.all():
            stream.let_go()
            if stream.route.current is not stream.model:
                self._catch_up(stream)
        before = now - idle_seconds
        self._forget([s for s in (self._keyed or {}).values() if s.used_at <= before and not s.pending])

    def discard_unused(self, stream: Stream) -> None:
        """Forget a key of which nothing has been accepted."""
        if stream.key is not None and stream.is_unused:
            self._forget([stream])

    def close(self) -> None:
        """Cancel what is under way and give all keys back."""
        for stream in self.all():
            stream.cancel()
        self._budget.count -= len(self)
        account = self._session.account
        if account is not None:
            account.meter.give_keys(len(self))
        self._keyed = None
        self._unkeyed = None

    def _unkeyed_stream(self, name: str, version: str | None, event: Event, codec: Codec, now: float) -> Stream:
        """Return the stream of the events without a key: one, or one per model on a socket for many."""
        if self._unkeyed is None:
            self._unkeyed = {}
        stream = self._unkeyed.get((name, version))
        if stream is None:
            stream = self._new_stream(self._models.route(name, version), None, event, codec, now)
            self._unkeyed[name, version] = stream
        if self.model is not None:
            self.plain = stream
        return stream

    def _new_stream(self, route: Route, key: str | None, event: Event, codec: Codec, now: float) -> Stream:
        model = route.current
        assert model is not None
        self._note_model(model, event)
        return Stream(self._session, route, model, key, codec, now)

    def _note_model(self, model: ServingModel, event: Event | None) -> None:
        """Take note of how a model wants its events decoded, and whether this one was."""
        if self.model is not None:
            self.takes_numbers = model.takes_numbers
            if event is not None and event.__class__ is not Event and not model.takes_numbers:
                raise DecodedForAnother

    def _catch_up(self, stream: Stream) -> None:
        """Let go of models that serve no more, so that a silent stream does not keep them in memory."""
        try:
            self.follow(stream)
        except WaterspoutError:
            if not stream.pending:
                self._forget([stream], "model_changed")

    def _place_of(self, event: Event) -> tuple[str, str | None]:
        """Return the model and the version that an event which names one of them belongs to."""
        name = event.model if event.model is not None else self.model
        version = None if event.version is None else str(event.version)
        if name is None:
            raise InvalidMessage("model: missing, this socket serves many models")
        if self.model is None:
            return name, version
        if name != self.model:
            raise InvalidMessage(f"model: this socket serves {self.model!r} only; /v1/stream serves many")
        if version is not None and self._models.get(name, version) is not self._models.get(name, self._version):
            raise UnknownModel(f"version: {version[:100]} of {name!r} is not served on this socket")
        return name, self._version

    def _make_room_for_key(self, keyed: dict[tuple[str, str | None, str | None], Stream]) -> None:
        limit, budget = self._session.options.max_keys, self._budget
        if len(keyed) < limit and budget.count < budget.limit:
            return
        self._forget([stream for stream in keyed.values() if stream.is_disposable])
        if len(keyed) >= limit:
            raise Overloaded(f"key: this socket holds {limit} keys already (max_keys_per_socket)", 1000)
        if budget.count >= budget.limit:
            raise Overloaded(f"key: the server holds {budget.limit} keys already (max_keys)", 1000)

    def _forget(self, streams: list[Stream], why: str = "idle") -> None:
        for stream in streams:
            route = stream.route
            if stream.key is None:
                assert self._unkeyed is not None
                del self._unkeyed[route.name, route.version]
                if stream is self.plain:
                    self.plain = None
            else:
                assert self._keyed is not None
                del self._keyed[route.name, route.version, stream.key]
                self._budget.count -= 1
                account = self._session.account
                if account is not None:
                    account.meter.give_keys()
        for stream in streams:
            stream.end()
            if stream.window:
                self._tell_gap(stream, len(stream.window), why)

    def _tell_gap(self, stream: Stream, samples: int, why: str) -> None:
        session = self._session
        session.outlet.send_message(Gap(samples, why, stream.key, session.model_of(stream)), stream.codec)
