"""Spans of batches that real models run, as the SDK's own exporter in memory gets them."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pipeline.model_config import DynamicBatching, ModelConfig
from pipeline.trace_context import Sampling, TraceContext
from pipeline.tracing import Tracing
from tests.pipeline.served_parts import Served
from tests.pipeline.test_inference import begin, lookup, rows

QUIET = TraceContext(11, 1, False)
SAMPLED = TraceContext(12, 2, True)
TOGETHER = ModelConfig(max_batch_size=4, dynamic_batching=DynamicBatching(max_queue_delay_microseconds=60_000_000))


class Traced:
    """A model whose batches are traced."""

    def __init__(self, served: Served, ratio: float) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing(Sampling(ratio, lambda: 0.5), SimpleSpanProcessor(self._exporter))
        served.model.engine.stats.tracer = self.tracing.of(("m", "1"))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


def ask(served: Served, contexts: list[TraceContext | None], index: int = 1) -> "list[asyncio.Future[Any]]":
    """Ask one row for each context."""
    outcomes = []
    for context in contexts:
        inference, outcome = begin(served, rows(index))
        inference.trace = context
        outcomes.append(outcome)
    return outcomes


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    assert span.attributes is not None
    return dict(span.attributes)


async def test_a_batch_is_one_span_with_a_link_to_the_trace_of_each_of_its_rows(tmp_path: Path) -> None:
    async with lookup(tmp_path, TOGETHER) as served:
        traced = Traced(served, 0.0)
        before = time.time_ns()
        await asyncio.gather(*ask(served, [QUIET, SAMPLED, SAMPLED, None]))
        after = time.time_ns()
    (span,) = traced.spans
    assert (span.name, span.kind, span.parent) == ("batch m", SpanKind.CONSUMER, None)
    linked = [(link.context.trace_id, link.context.span_id, link.context.trace_flags.sampled) for link in span.links]
    assert linked == [(11, 1, False), (12, 2, True)]
    assert all(link.context.is_remote for link in span.links)
    attributes = attributes_of(span)
    assert 0 <= attributes.pop("waterspout.queue.seconds") < 5
    assert attributes == {"waterspout.model": "m", "waterspout.version": "1", "waterspout.batch.rows": 4}
    assert span.start_time is not None
    assert span.end_time is not None
    assert before - 1_000_000 <= span.start_time <= span.end_time <= after + 1_000_000
    assert span.status.status_code is StatusCode.UNSET
    assert span.resource.attributes["service.name"] == "waterspout"


@pytest.mark.parametrize(
    ("ratio", "context", "spans"), [(0.0, QUIET, 0), (0.0, None, 0), (0.0, SAMPLED, 1), (0.4, QUIET, 0), (0.6, None, 1)]
)
async def test_batches_are_sampled(tmp_path: Path, ratio: float, context: TraceContext | None, spans: int) -> None:
    async with lookup(tmp_path) as served:
        traced = Traced(served, ratio)
        await asyncio.gather(*ask(served, [context]))
    assert len(traced.spans) == spans


async def test_a_row_that_fails_is_a_span_that_says_so(tmp_path: Path) -> None:
    async with lookup(tmp_path) as served:
        traced = Traced(served, 0.0)
        (outcome,) = await asyncio.gather(*ask(served, [SAMPLED], 99), return_exceptions=True)
    assert isinstance(outcome, Exception)
    (span,) = traced.spans
    assert span.status.status_code is StatusCode.ERROR
    assert attributes_of(span)["error.type"] == "inference_failed"
    assert [link.context.trace_id for link in span.links] == [12]


async def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab")
    exporter = InMemorySpanExporter()
    tracing = Tracing(Sampling(1.0, lambda: 0.0), SimpleSpanProcessor(exporter))
    tracing.tracer.start_span("one").end()
    (span,) = exporter.get_finished_spans()
    assert span.resource.attributes["service.name"] == "edge"
    assert span.resource.attributes["deployment.environment"] == "lab"


async def test_nothing_is_traced_where_nothing_is_configured(tmp_path: Path) -> None:
    async with lookup(tmp_path) as served:
        assert served.model.engine.stats.tracer is None
        await asyncio.gather(*ask(served, [None]))
