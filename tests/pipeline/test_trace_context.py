"""Whose traces a batch belongs to, and which batches are recorded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.trace_context import (
    MOST_LINKS,
    Sampling,
    TraceContext,
    check_endpoint,
    contexts_of,
    read_traceparent,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SAMPLED = TraceContext(int(TRACE, 16), int(SPAN, 16), True)
QUIET = SAMPLED._replace(is_sampled=False)


@pytest.mark.parametrize(
    ("text", "context"),
    [
        (f"00-{TRACE}-{SPAN}-01", SAMPLED),
        (f" 00-{TRACE}-{SPAN}-00\t", QUIET),
        (f"00-{TRACE}-{SPAN}-03", SAMPLED),
        (f"00-{TRACE}-{SPAN}-02", QUIET),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", SAMPLED),
        (f"cc-{TRACE}-{SPAN}-01", SAMPLED),
        (f"cc-{TRACE}-{SPAN}-01.more", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"{TRACE}-{SPAN}-01", None),
        ("", None),
    ],
)
def test_the_header_is_read_as_it_is_specified(text: str, context: TraceContext | None) -> None:
    assert read_traceparent(text) == context


@given(st.text(max_size=80))
def test_any_text_is_a_header_or_none(text: str) -> None:
    context = read_traceparent(text)
    assert context is None or context.trace_id < 1 << 128


@given(st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1), st.integers(0, 255))
def test_what_is_written_is_read(trace: int, span: int, flags: int) -> None:
    assert read_traceparent(f"00-{trace:032x}-{span:016x}-{flags:02x}") == (trace, span, bool(flags & 1))


class Holder:
    """An owner of jobs, or the outlet of one."""

    def __init__(self, trace: TraceContext | None = None, outlet: Any = None, job: Any = None) -> None:
        self.trace = trace
        self.outlet = outlet
        if job is not None:
            self.job = job


class Row:
    def __init__(self, owner: Any) -> None:
        self.owner = owner


def test_rows_of_a_socket_and_of_a_request_are_found_through_the_steps_of_an_ensemble() -> None:
    request, socket = TraceContext(1, 1, False), TraceContext(2, 2, True)
    of_socket = Row(Holder(outlet=Holder(socket)))
    of_request = Row(Holder(request))
    nested = Row(Holder(job=Row(Holder(job=of_socket))))
    untraced = [Row(Holder()), Row(Holder(outlet=Holder()))]
    assert contexts_of([nested, of_request, *untraced, of_socket, of_request]) == [socket, request]


def test_a_span_has_no_more_links_than_are_kept() -> None:
    rows = [Row(Holder(TraceContext(number, 1, False))) for number in range(1, 3 * MOST_LINKS)]
    assert len(contexts_of(rows)) == MOST_LINKS


def test_batches_of_sampled_traces_are_recorded_and_a_share_of_the_others() -> None:
    numbers = iter([0.09, 0.11, 0.5, 0.0])
    sampling = Sampling(0.1, lambda: next(numbers))
    assert sampling.takes([QUIET, SAMPLED], 0.0)
    assert [sampling.takes([QUIET], 0.0), sampling.takes([], 0.0), sampling.takes([QUIET], 0.0)] == [True, False, False]
    assert not Sampling(0.0, lambda: 0.0).takes([], 0.0)
    assert Sampling(1.0, lambda: 0.999).takes([], 0.0)


def test_no_more_are_recorded_in_a_second_than_are_of_use() -> None:
    sampling = Sampling(0.0, lambda: 1.0, most_per_second=3)
    taken = [sampling.takes([SAMPLED], 100.0 + at / 10) for at in range(20)]
    assert taken == ([True] * 3 + [False] * 7) * 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:4318", "https://collector.example", "http://[::1]:4318/base"])
def test_an_endpoint_is_a_url(url: str) -> None:
    check_endpoint(url)


@pytest.mark.parametrize(
    "url", ["", "localhost:4318", "grpc://a", "http://", "http://a:99999", "http://a?b", "http://u:p@a", "http://[a"]
)
def test_anything_else_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|URL|OTEL_EXPORTER_OTLP_HEADERS"):
        check_endpoint(url)
