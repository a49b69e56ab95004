"""`/v2`: the Open Inference Protocol (KServe v2) with Triton's extensions, but for inference itself."""

import time
from typing import Any, ClassVar, Final

import tornado.web

from handlers.base import SERVER_NAME, SERVER_VERSION, STATUS, JsonHandler, error_headers, no_such_path, phrase_of
from handlers.bounded_body import BoundedBodyHandler
from handlers.request_id import REQUEST_ID, request_id
from pipeline.codec import JSON, Codec
from pipeline.errors import ConfigError, DeadlineExceeded, InvalidInput, ShuttingDown, WaterspoutError
from pipeline.stream import MAX_ERROR_LENGTH
from pipeline.v2_descriptions import configuration, index_entry, metadata, statistics
from pipeline.v2_messages import ErrorMessage, Parameters, decode_control, decode_index, encode
from pipeline.v2_metadata import ModelList, ModelReady, ServerLive, ServerMetadata, ServerReady, Statistics

EXTENSIONS: Final = [
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
]

#: A request that waited too long is refused like one that found the queue full: Triton's clients know 503 for both.
V2_STATUS: Final = {**STATUS, DeadlineExceeded.code: STATUS[ShuttingDown.code]}


class V2Handler(JsonHandler):
    """A door of `/v2`: its errors are `{"error": text}`."""

    def set_default_headers(self) -> None:
        """Say `application/json` and nothing more: clients compare it letter by letter."""
        super().set_default_headers()
        self.set_header("Content-Type", JSON.media_type)

    def answer(self, message: Any) -> None:
        """Finish with one message as the body."""
        self.finish(encode(message))

    def reply_error(self, error: WaterspoutError, codec: Codec = JSON) -> None:
        """Finish with an error as the body and the status that belongs to its code."""
        del codec
        self.state.stats.errors[error.code] += 1
        self.set_headers(error_headers(error))
        self._fail(V2_STATUS[error.code], str(error))

    def reply_refusal(self, status: int, raised: BaseException | None) -> None:
        """Finish with an error of Tornado's own; with one of ours, say by what id it is found in the log."""
        if status >= 500:
            self.set_header(REQUEST_ID, request_id(self.request))
        self._fail(status, phrase_of(status, raised))

    def _fail(self, status: int, text: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", JSON.media_type)
        self.finish(encode(ErrorMessage(text[:MAX_ERROR_LENGTH])))


class V2NotFoundHandler(V2Handler):
    """Any path below `/v2` that is no door."""

    def prepare(self) -> None:
        """Answer 404."""
        self.reply_refusal(404, tornado.web.HTTPError(404, no_such_path(self.request.path, self.state.settings.role)))


class ServerMetadataHandler(V2Handler):
    """`GET /v2`."""

    def get(self) -> None:
        """Tell what this server is."""
        self.answer(ServerMetadata(SERVER_NAME, SERVER_VERSION, EXTENSIONS))


class LiveHandler(V2Handler):
    """`GET /v2/health/live`."""

    def get(self) -> None:
        """Say so."""
        self.answer(ServerLive(True))


class V2ReadyHandler(V2Handler):
    """`GET /v2/health/ready`; 503 while starting or draining, and at a gateway that knows of no model."""

    def get(self) -> None:
        """Tell whether requests are welcome."""
        is_ready = self.state.is_welcoming
        self.set_status(200 if is_ready else 503)
        self.answer(ServerReady(is_ready))


class ModelListHandler(V2Handler):
    """`GET /v2/models`."""

    def get(self) -> None:
        """Name all models that are ready."""
        self.answer(ModelList(sorted({model.name for model in self.models})))


class ModelMetadataHandler(V2Handler):
    """`GET /v2/models/{model}[/versions/{version}]`."""

    def get(self, name: str, version: str | None = None) -> None:
        """Tell what the model takes and gives."""
        repository = self.models
        self.answer(metadata(repository.get(name, version), repository.versions(name)))


class ModelReadyHandler(V2Handler):
    """`GET /v2/models/{model}[/versions/{version}]/ready`; 503 where the model could not be loaded."""

    def get(self, name: str, version: str | None = None) -> None:
        """Say so."""
        self.answer(ModelReady(self.models.get(name, version).name, True))


class ModelConfigHandler(V2Handler):
    """`GET /v2/models/{model}[/versions/{version}]/config`."""

    def get(self, name: str, version: str | None = None) -> None:
        """Tell how the model is served."""
        self.answer(configuration(self.models.get(name, version)))


class StatisticsHandler(V2Handler):
    """`GET /v2/models/stats` and `/v2/models/{model}[/versions/{version}]/stats`."""

    def get(self, name: str | None = None, version: str | None = None) -> None:
        """Tell the counters of one model, or of all."""
        repository = self.models
        models = list(repository) if name is None else [repository.get(name, version)]
        now, epoch = time.monotonic(), time.time()
        self.answer(Statistics([statistics(model, now, epoch) for model in models]))


class RepositoryIndexHandler(V2Handler, BoundedBodyHandler):
    """`POST /v2/repository/index`."""

    def post(self) -> None:
        """List all models, broken ones with the reason."""
        if self._finished:
            return
        asked = decode_index(self.body.take_plain(self.request.headers))
        entries = [index_entry(info) for info in self.models.index()]
        self.answer([entry for entry in entries if entry.state == "READY" or not asked.ready])


class ControlHandler(V2Handler, BoundedBodyHandler):
    """A door that changes what is served; 403 without `--model-control explicit`, and at gateways."""

    KNOWN: ClassVar[frozenset[str]] = frozenset()  # parameters that are understood

    async def post(self, name: str) -> None:
        """Check that the order is allowed, and carry it out."""
        if self._finished:
            return
        if self.state.settings.role == "gateway":
            self._fail(403, "this is a gateway: models come and go at the workers, as their folders do")
            return
        control = self.state.settings.model_control
        if control != "explicit":
            self._fail(403, f"models come and go by request with --model-control explicit only, it is {control}")
            return
        parameters = decode_control(self.body.take_plain(self.request.headers)).parameters or {}
        for parameter in parameters:
            if parameter not in self.KNOWN:
                raise InvalidInput(f"parameters.{parameter[:100]}: a model is taken as it lies in the repository")
        await self.carry_out(name, parameters)
        self.answer({})

    async def carry_out(self, name: str, parameters: Parameters) -> None:
        """Do what the door is for."""
        raise NotImplementedError


class LoadHandler(ControlHandler):
    """`POST /v2/repository/models/{model}/load`; answers when the model is ready."""

    async def carry_out(self, name: str, parameters: Parameters) -> None:
        """Load what is on disk."""
        try:
            await self.state.repository.load(name)
        except ConfigError as error:
            raise InvalidInput(str(error)) from error


class UnloadHandler(ControlHandler):
    """`POST /v2/repository/models/{model}/unload`; answers when what the model had is answered."""

    KNOWN = frozenset(("unload_dependents",))

    async def carry_out(self, name: str, parameters: Parameters) -> None:
        """Serve the model no more."""
        with_steps = parameters.get("unload_dependents", False)
        if type(with_steps) is not bool:
            raise InvalidInput("parameters.unload_dependents: expected true or false")
        await self.state.repository.unload(name, with_steps=with_steps)
