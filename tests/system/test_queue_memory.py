"""A flood that would fill the memory with rows that wait: who sends it loses some, others lose nothing."""

from pathlib import Path

from .client import open_stream
from .graphs import double, write_model
from .metrics import Metrics
from .process import running_server, until

PATH = "/v1/models/patient/stream"
GATHERS = "max_batch_size = 4000\n[dynamic_batching]\nmax_queue_delay_microseconds = 2_000_000\n"
SMALL = ("--max-queue-bytes", str(1 << 20), "--max-message-bytes", str(1 << 17), "--max-in-flight", "4000")
FLOOD = 2000


def test_who_floods_loses_rows_and_nobody_else(tmp_path: Path) -> None:
    write_model(tmp_path, "patient", double(), GATHERS)
    with (
        running_server("--models", str(tmp_path), *SMALL) as server,
        open_stream(server, PATH) as polite,
        open_stream(server, PATH) as flood,
    ):
        polite.send([{"id": f"polite {number}", "data": [number, 0, 0, 0]} for number in range(20)])
        until(lambda: Metrics(server)("queue_depth", model="patient") == 20)
        held = Metrics(server)("queue_bytes")
        assert held == 20 * (512 + 16)
        for start in range(0, FLOOD, 100):
            flood.send([{"id": start + number, "data": [1, 2, 3, 4]} for number in range(100)])
        answers = [flood.receive() for _ in range(FLOOD)]
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert sorted(answer["id"] for answer in answers) == list(range(FLOOD)), "each is answered once"
        assert 100 < len(errors) < FLOOD
        assert {error["code"] for error in errors} == {"overloaded"}
        assert all("max_queue_bytes: 1048576" in error["message"] for error in errors)
        assert [polite.receive()["outputs"]["y"][0] for _ in range(20)] == [2 * number for number in range(20)]
        metrics = Metrics(server)
        assert metrics("events_shed_total") == len(errors)
        assert metrics("queue_bytes") == 0
