"""Orders and results: what all processes say becomes one answer, and what is none of ours is refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.admin_messages import Done, SessionInfo, Sessions
from pipeline.errors import InferenceFailed, Overloaded, UnknownModel, UnknownSession, WaterspoutError
from pipeline.orders import (
    CloseSession,
    Did,
    DrainModel,
    Failed,
    ForeignOrder,
    Listed,
    ListSessions,
    Order,
    Result,
    ResumeModel,
    SetLogLevel,
    Task,
    deaf,
    decode_order,
    decode_result,
    encode_order,
    encode_result,
    merge,
)

TASKS: list[Task] = [
    ListSessions(None, 1000),
    CloseSession("a-1"),
    DrainModel("m"),
    ResumeModel("m"),
    SetLogLevel("debug"),
]


def info(session: str, seconds: float, **more: Any) -> SessionInfo:
    return SessionInfo(session, "stream", "acme", "10.0.0.1", seconds, **more)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_orders_come_through_whole(task: Task) -> None:
    assert decode_order(encode_order(Order("root", task))) == Order("root", task)


@pytest.mark.parametrize("result", [Listed([info("a-1", 2.5, topics=["m/*"])], 7), Did(False), Failed("no")], ids=repr)
def test_results_come_through_whole(result: Result) -> None:
    assert decode_result(encode_result(result)) == result


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"by": "root"},
        {"by": "root", "task": {"type": "shutdown"}},
        {"by": "root", "task": {"type": "list", "identity": None, "limit": 0}},
        {"by": "root", "task": {"type": "list", "identity": None, "limit": 1001}},
        {"by": "root", "task": {"type": "level", "level": "loud"}},
        {"by": "root", "task": {"type": "close", "session": "s" * 16_385}},
        {"by": "root", "task": {"type": "close", "session": "s", "how": "hard"}},
        {"by": 7, "task": {"type": "close", "session": "s"}},
        {"by": "root", "task": {"type": "close", "session": "s"}, "more": 1},
    ],
    ids=repr,
)
def test_what_is_no_order_is_foreign(wrong: Any) -> None:
    with pytest.raises(ForeignOrder, match="no order: "):
        decode_order(msgspec.msgpack.encode(wrong))


@given(st.binary(max_size=200))
def test_bytes_are_an_order_or_foreign_and_a_result_or_foreign(payload: bytes) -> None:
    for decode in (decode_order, decode_result):
        try:
            decode(payload)
        except ForeignOrder:
            continue


def test_a_nested_result_is_foreign() -> None:
    with pytest.raises(ForeignOrder, match="no result: "):
        decode_result(b"\x91" * 100_000)


def test_a_list_that_is_too_long_for_a_message_is_cut_and_its_total_stays() -> None:
    listed = Listed([info(f"a-{number}", 100.0 - number) for number in range(100)], 100)
    cut = decode_result(encode_result(listed, 2000))
    assert isinstance(cut, Listed)
    assert cut.total == 100
    assert 5 < len(cut.sessions) < 50
    assert cut.sessions == listed.sessions[: len(cut.sessions)], "the oldest stay"
    assert decode_result(encode_result(listed, 1)) == Listed([], 100)
    assert decode_result(encode_result(Did(True), 1)) == Did(True)


def test_sockets_of_all_are_one_list_the_oldest_first() -> None:
    results: dict[str, Result] = {
        "1": Listed([info("a-1", 30.0), info("a-2", 10.0)], 2),
        "2": Listed([info("b-1", 20.0)], 5),
        "3": Listed([], 0),
    }
    merged = merge(ListSessions(None, 1000), results, 0)
    assert isinstance(merged, Sessions)
    assert [(one.session, one.process) for one in merged.sessions] == [("a-1", "1"), ("b-1", "2"), ("a-2", "1")]
    assert (merged.total, merged.silent) == (7, 0)
    few = merge(ListSessions(None, 2), results, 1)
    assert isinstance(few, Sessions)
    assert [one.session for one in few.sessions] == ["a-1", "b-1"]
    assert (few.total, few.silent) == (7, 1)


def test_a_process_alone_has_no_name_and_what_is_complete_says_nothing_of_silence() -> None:
    merged = merge(ListSessions(None, 5), {"": Listed([info("a-1", 1.0)], 1)}, 0)
    assert msgspec.to_builtins(merged) == {
        "sessions": [
            {"session": "a-1", "kind": "stream", "identity": "acme", "address": "10.0.0.1", "seconds": 1.0},
        ],
        "total": 1,
    }
    assert msgspec.to_builtins(merge(SetLogLevel("info"), {"": Did(True)}, 0)) == {"done": True}
    assert msgspec.to_builtins(merge(SetLogLevel("info"), {"": Did(True)}, 2)) == {"done": True, "silent": 2}


def test_a_process_that_answers_what_was_not_asked_is_silent() -> None:
    assert merge(ListSessions(None, 5), {"1": Did(True), "2": Listed([], 3)}, 1) == Sessions([], 3, 2)
    assert merge(CloseSession("x"), {"1": Did(True), "2": Listed([], 3)}, 0) == Done(True, 1)
    with pytest.raises(Overloaded):
        merge(CloseSession("x"), {"1": Did(False), "2": Listed([], 3)}, 0)


@pytest.mark.parametrize("task", TASKS[1:], ids=repr)
def test_what_one_has_done_is_done(task: Task) -> None:
    assert merge(task, {"1": Did(False), "2": Did(True), "3": Did(False)}, 0) == Done(True)
    assert merge(task, {"1": Did(False), "2": Did(True)}, 1) == Done(True, 1)


@pytest.mark.parametrize(
    ("task", "error"),
    [(CloseSession("x"), UnknownSession), (DrainModel("x"), UnknownModel), (ResumeModel("x"), UnknownModel)],
    ids=repr,
)
def test_what_no_process_knows_is_unknown_unless_one_is_silent(task: Task, error: type[WaterspoutError]) -> None:
    with pytest.raises(error, match="'x'"):
        merge(task, {"1": Did(False), "2": Did(False)}, 0)
    with pytest.raises(Overloaded, match="'x': 1 of the processes have not answered in time"):
        merge(task, {"1": Did(False)}, 1)


def test_where_all_are_silent_nothing_is_said_to_be_done() -> None:
    with pytest.raises(Overloaded, match="the order: 2 of the processes"):
        merge(SetLogLevel("info"), {}, 2)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_what_failed_anywhere_is_told_with_the_process(task: Task) -> None:
    with pytest.raises(InferenceFailed, match=r"^process 2: disk full$"):
        merge(task, {"1": Did(True), "2": Failed("disk full")}, 0)
    with pytest.raises(InferenceFailed, match=r"^disk full$"):
        merge(task, {"": Failed("disk full")}, 0)


async def test_nobody_obeys_before_somebody_is_there() -> None:
    assert await deaf(b"anything", 1.0) == b""
