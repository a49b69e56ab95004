"""OpenTelemetry: a span for each batch that is worth one, linked to its events; the only importer of opentelemetry."""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from pipeline.errors import WaterspoutError
from pipeline.job import Job
from pipeline.stats import Place
from pipeline.trace_context import Sampling, TraceContext, contexts_of

log = logging.getLogger(__name__)

_monotonic: Final = time.monotonic


class Tracing:
    """What spans are made with, and where they go."""

    def __init__(self, sampling: Sampling, processor: SpanProcessor) -> None:
        """Make it; what the environment says of the service (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) is heeded."""
        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "waterspout"}))
        self.sampling = sampling
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self.tracer = self._provider.get_tracer("waterspout")

    def of(self, place: Place) -> "BatchTracer":
        """Return what makes the spans of a model's version."""
        return BatchTracer(self, place)

    async def stop(self, seconds: float) -> None:
        """Send what is left, for so long at most: the SDK keeps to no time, and nothing is to wait for its thread."""
        loop, is_done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(is_done.set)

        threading.Thread(target=shut_down, name="traces", daemon=True).start()
        try:
            await asyncio.wait_for(is_done.wait(), seconds)
        except TimeoutError:
            log.warning("traces: what was left did not reach its receiver within %g s", seconds)


class BatchTracer:
    """The spans of one model's version."""

    def __init__(self, tracing: Tracing, place: Place) -> None:
        self._tracing = tracing
        name, version = place
        self._title = f"batch {name}"
        self._attributes = {"waterspout.model": name, "waterspout.version": version}

    def __repr__(self) -> str:
        return f"<BatchTracer {self._title}>"

    def ran(self, jobs: Sequence[Job], started_at: float, run_seconds: float) -> None:
        """Take a batch that has run; `started_at` is monotonic, in seconds."""
        self._record(jobs, started_at, run_seconds, None)

    def failed(self, jobs: Sequence[Job], error: WaterspoutError) -> None:
        """Take rows that failed just now."""
        self._record(jobs, _monotonic(), 0.0, error)

    def _record(
        self, jobs: Sequence[Job], started_at: float, run_seconds: float, error: WaterspoutError | None
    ) -> None:
        contexts = contexts_of(jobs)
        now = _monotonic()
        if not self._tracing.sampling.takes(contexts, now):
            return
        attributes: dict[str, AttributeValue] = {
            **self._attributes,
            "waterspout.batch.rows": len(jobs),
            "waterspout.queue.seconds": started_at - min(job.enqueued_at for job in jobs),
        }
        links = [_link(context) for context in contexts]
        started = time.time_ns() - round((now - started_at) * 1e9)
        tracer = self._tracing.tracer
        span = tracer.start_span(self._title, Context(), SpanKind.CONSUMER, attributes, links, started)
        if error is not None:
            span.set_attribute("error.type", error.code)
            span.set_status(StatusCode.ERROR, str(error)[:300])
        span.end(started + round(run_seconds * 1e9))


def trace_to(endpoint: str, ratio: float) -> Tracing:
    """Return tracing that sends spans to an OTLP receiver by HTTP, from a thread of its own."""
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    return Tracing(Sampling(ratio, random.random), BatchSpanProcessor(exporter))


def _link(context: TraceContext) -> Link:
    flags = TraceFlags(TraceFlags.SAMPLED if context.is_sampled else TraceFlags.DEFAULT)
    return Link(SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=flags))
