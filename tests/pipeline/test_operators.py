"""Orders to one process, and to others that say what the test has them say."""

import asyncio
import logging

import pytest

from pipeline import operators as operators_module
from pipeline.admin_messages import Done, Sessions
from pipeline.errors import InferenceFailed, Overloaded, UnknownSession
from pipeline.operators import MOST_ORDERS, Alone
from pipeline.orders import (
    Answers,
    CloseSession,
    Did,
    DrainModel,
    ForeignOrder,
    ListSessions,
    Obedience,
    Order,
    ResumeModel,
    SetLogLevel,
    deaf,
    decode_result,
    encode_order,
    encode_result,
)
from pipeline.standing import Mark, Standing

from .order_parts import Process, until


class Scripted:
    """Others that answer as the test says."""

    name = "here"

    def __init__(self, answers: Answers) -> None:
        self.obey: Obedience = deaf
        self.answers = answers
        self.waits: list[float] = []

    def serve(self, obey: Obedience, standing: Standing) -> None:
        self.obey = obey

    async def order(self, order: bytes, wait: float) -> Answers:
        self.waits.append(wait)
        return self.answers


async def test_a_process_alone_does_what_it_is_told() -> None:
    process = Process(Alone(), "a")
    listed = await process.order("root", ListSessions(None, 10))
    assert isinstance(listed, Sessions)
    assert [(info.session, info.process) for info in listed.sessions] == [("a", "")]
    assert await process.order("root", CloseSession("a")) == Done(True)
    with pytest.raises(UnknownSession):
        await process.order("root", CloseSession("b"))
    assert process.orders[1] == Order("root", CloseSession("a"))


async def test_a_drain_that_takes_too_long_is_not_said_to_be_done() -> None:
    process = Process(Alone(), "a", drain_seconds=0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators_module, "ANSWER_SECONDS", 0.01)
        with pytest.raises(Overloaded, match="'m': 1 of the processes"):
            await process.order("root", DrainModel("m"))
    process.drained.set()
    assert await process.order("root", DrainModel("m")) == Done(True)


async def test_drains_may_take_longer_than_other_orders() -> None:
    others = Scripted(Answers({}, 0))
    process = Process(others, "a", drain_seconds=7.0)
    process.drained.set()
    await process.order("root", DrainModel("m"))
    await process.order("root", SetLogLevel("info"))
    assert others.waits == [7.0, operators_module.ANSWER_SECONDS]


async def test_what_others_say_counts_and_who_says_nothing_or_nonsense_is_silent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    others = Scripted(Answers({"there": encode_result(Did(True)), "odd": b"\xc1"}, 2))
    process = Process(others, "a")
    assert await process.order("root", CloseSession("b")) == Done(True, 3)
    assert "what process odd answers to an order is left out: no result: " in caplog.text


async def test_what_fails_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    process = Process(Alone(), "a")
    with pytest.raises(InferenceFailed, match="internal error"):
        await process.order("root", DrainModel("broken"))
    assert "an order of root failed" in caplog.text
    assert "this model cannot be drained" in caplog.text
    caplog.clear()


async def test_orders_of_others_are_obeyed_and_those_that_are_none_are_not() -> None:
    others = Scripted(Answers({}, 0))
    process = Process(others, "a")
    close = encode_order(Order("root", CloseSession("a")))
    assert decode_result(await others.obey(close, 1.0)) == Did(True)
    assert await others.obey(encode_order(Order("root", DrainModel("m"))), 0.01) == b""
    with pytest.raises(ForeignOrder):
        await others.obey(b"nonsense", 1.0)
    assert [order.by for order in process.orders] == ["root", "root"]
    assert repr(process.operators).endswith("under_way=0>")


async def test_no_more_than_some_orders_are_given_at_the_same_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    process = Process(Alone(), "a")
    drains = [asyncio.create_task(process.order("root", DrainModel("m"))) for _ in range(MOST_ORDERS)]
    await until(lambda: len(process.orders) == MOST_ORDERS)
    with pytest.raises(Overloaded, match="at the same time"):
        await process.order("root", SetLogLevel("info"))
    process.drained.set()
    assert await asyncio.gather(*drains) == [Done(True)] * MOST_ORDERS
    assert await process.order("root", SetLogLevel("info")) == Done(True)


async def test_each_order_for_a_model_is_later_than_all_that_are_known() -> None:
    process = Process(Alone(), "a")
    process.drained.set()
    process.standing.merge({"other": Mark(1 << 50, True, "from a host whose clock is ahead")})
    await process.order("root", DrainModel("m"))
    drained = process.standing.marks["m"]
    await process.order("ops", ResumeModel("m"))
    resumed = process.standing.marks["m"]
    assert (drained.at, resumed.at) == ((1 << 50) + 1, (1 << 50) + 2)
    assert (drained.by, resumed.by, resumed.is_drained) == ("root", "ops", False)
