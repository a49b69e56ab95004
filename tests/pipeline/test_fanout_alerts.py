"""An alert is told everywhere, once, and its webhook called only where it was raised."""

from pathlib import Path
from typing import Any

from pipeline.alert_config import AlertRule
from pipeline.alert_messages import Alert
from pipeline.loaded_model import LoadedModel
from pipeline.memory_backbone import MemoryBackbone
from pipeline.model_config import ModelConfig
from pipeline.served_model import serve_graph
from pipeline.workers import WorkerPool
from tests import onnx_models as onnx

from .fanout_parts import Looker, Process, processes, until
from .session_parts import Client


def alert(number: int) -> Alert:
    return Alert(ts=1.0, rule="r", model="m", version="1", key=str(number), topic="m/k", output="y", count=number)


def counts(process: Process) -> list[int]:
    """Return which alerts `GET /v1/alerts` has, oldest first."""
    return [alert.count for alert in reversed(process.desk.recent.newest())]


class AlertLooker(Looker):
    @property
    def told(self) -> list[int]:
        """Which alerts were told."""
        return [message["alert"]["count"] for message in self.messages if message["topic"] == "$alerts"]


def watch_alerts(process: Process) -> AlertLooker:
    looker = AlertLooker()
    process.hub.subscribe(looker, ["$alerts"], 1.0)
    return looker


async def test_alerts_are_told_and_kept_everywhere_once() -> None:
    async with processes(MemoryBackbone(), "abc") as (a, b, c):
        called: list[tuple[str, str]] = []
        for name, process in (("a", a), ("b", b), ("c", c)):
            process.desk.call_webhook = lambda url, alert, name=name: called.append((name, alert.key))  # type: ignore[misc]
        lookers = [watch_alerts(process) for process in (a, b, c)]
        for number in range(10):
            (a, b)[number % 2].desk.take(alert(number), "https://hook")
        for process, looker in zip((a, b, c), lookers, strict=True):
            await until(lambda process=process: len(counts(process)) == 10)  # type: ignore[misc]
            assert sorted(looker.told) == list(range(10))
            assert sorted(counts(process)) == list(range(10))
            assert [one.id for one in process.desk.recent.newest()] == list(range(10, 0, -1))
            for number in (0, 1):  # what one process raises stays in order
                assert [count for count in looker.told if count % 2 == number] == list(range(number, 10, 2))
        assert called == [("ab"[number % 2], str(number)) for number in range(10)]
        assert [sum(process.stats.alerts.values()) for process in (a, b, c)] == [5, 5, 0]


async def test_a_rule_of_a_real_model_is_told_elsewhere(tmp_path: Path) -> None:
    path = onnx.save(onnx.identity(), tmp_path / "model.onnx")
    config = ModelConfig(alert=[AlertRule(name="high", output="y", index=0, above=5.0)])
    async with processes(MemoryBackbone(), "ab") as (a, b):
        workers = WorkerPool(1)
        model = serve_graph("m", "1", LoadedModel(path, config), workers)
        model.alert(a.desk)
        far, near = watch_alerts(b), watch_alerts(a)
        client = Client(model)
        for value in (1, 7):
            client.send([value, 0, 0], key="k", id=value)
        await until(lambda: far.messages)
        expected: dict[str, Any] = near.messages[0]
        assert far.messages == [expected]
        assert expected["alert"]["event_id"] == 7
        model.engine.close()
        await model.engine.drained()
        workers.shutdown()


async def test_alerts_of_the_time_without_a_backbone_come_when_it_is_back() -> None:
    backbone = MemoryBackbone()
    async with processes(backbone, "ab") as (a, b):
        looker = watch_alerts(b)
        backbone.go_down()
        for number in range(300):
            a.desk.take(alert(number), None)
        assert len(counts(a)) == 256
        backbone.come_back()
        await until(lambda: looker.told == list(range(300)))
        assert counts(b) == list(range(44, 300))


async def test_alerts_that_were_lost_on_the_way_come_again() -> None:
    class Lossy(MemoryBackbone):
        drops = 0

        async def publish(self, channel: str, payloads: Any) -> None:
            if self.drops and any(b"\x93\x02" in payload or b"\x92\x02" in payload for payload in payloads):
                self.drops -= 1
                return
            await super().publish(channel, payloads)

    backbone = Lossy()
    async with processes(backbone, "ab") as (a, b):
        looker = watch_alerts(b)
        a.desk.take(alert(0), None)
        await until(lambda: looker.told == [0])
        backbone.drops = 1
        a.desk.take(alert(1), None)
        await until(lambda: not backbone.drops)
        await until(lambda: looker.told == [0, 1])
        assert looker.lost == 1
        backbone.drops = 1
        a.desk.take(alert(2), None)
        await until(lambda: not backbone.drops)
        a.desk.take(alert(3), None)
        await until(lambda: sorted(looker.told) == [0, 1, 2, 3])
        assert sorted(counts(b)) == [0, 1, 2, 3]


async def test_alerts_of_before_it_came_are_not_news_to_a_process() -> None:
    backbone = MemoryBackbone()
    async with processes(backbone, "ab") as (a, b):
        a.desk.take(alert(0), None)
        await until(lambda: counts(b) == [0])
        async with Process(backbone, "c") as c:
            looker = watch_alerts(c)
            await until(lambda: len(c.fanout.peers.cards) == 2 and len(a.fanout.peers.cards) == 2)
            a.desk.take(alert(1), None)
            await until(lambda: looker.told == [1])
            assert counts(c) == [1]
