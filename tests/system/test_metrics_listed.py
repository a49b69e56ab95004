"""docs/operations.md lists each metric, and those alone."""

import gc
import re
from pathlib import Path

from tests.certificates import Certificate

from .access_parts import Keys
from .client import Reply, get, open_stream
from .metrics import Metrics
from .process import ROOT, Server, running_server, until

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def listed(start: str = "\n## Metrics\n") -> set[str]:
    """Return the names in the first column of the tables up to the next heading."""
    rows = re.findall(r"^\| (`.+?) \| ", OPERATIONS.partition(start)[2].partition("\n##")[0], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)(?:\{[\w,]+\})?`", row)}


def labels_listed() -> dict[str, set[str]]:
    labels = re.findall(r"`(\w+)\{([\w,]+)\}`", OPERATIONS.partition("\n## Metrics\n")[2].partition("\n## ")[0])
    return {name: set(text.split(",")) for name, text in labels}


def names_of(source: Server | Reply) -> set[str]:
    kinds = {family.name: family.type for family in Metrics(source).families.values()}
    return {f"{name}_total" if kind == "counter" else name for name, kind in kinds.items()}


def test_every_metric_is_listed_and_every_listed_one_is_there(zoo_models: Path, certificate: Certificate) -> None:
    models = ("--models", str(zoo_models))
    with (
        running_server(*models, *certificate.arguments, tls=certificate.trusted()) as single,
        running_server(*models, "--processes", "2") as several,
    ):
        told = names_of(single) | names_of(several)
    assert told == listed()


def test_those_of_usage_are_there_where_anybody_is_known(server: Server, keys: Keys) -> None:
    told = names_of(get(server, "/metrics", keys.bearer("root")))
    assert told - listed() == listed("\n### Metrics of usage\n")


def test_labels_are_as_they_are_listed(zoo_models: Path) -> None:
    with running_server("--models", str(zoo_models)) as server:
        with open_stream(server, "/v1/models/double/stream") as stream:
            stream.ask({"data": [1, 2, 3, 4]})
            stream.ask({"dta": 1})
        get(server, "/healthz")
        expected = labels_listed()
        seen = 0
        for family in Metrics(server).families.values():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            for sample in family.samples:
                assert sample.labels.keys() - {"le"} == expected.get(name, set()), name
                seen += 1
        assert seen > 50


def test_how_late_the_loop_is_is_measured_at_rest_too(zoo: Server) -> None:
    before = Metrics(zoo)("loop_lag_seconds_count")
    until(lambda: Metrics(zoo)("loop_lag_seconds_count") > before + 5)
    assert Metrics(zoo)("loop_lag_seconds_sum") > 0


def test_collections_are_timed(zoo: Server) -> None:
    del zoo
    from handlers.vitals import Vitals

    vitals = Vitals()
    gc.callbacks.append(vitals._on_collection)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(vitals._on_collection)
    (pauses,) = [family for family in vitals.collect() if family.name == "waterspout_gc_pause_seconds"]
    counts = {sample.labels["generation"]: sample.value for sample in pauses.samples if sample.name.endswith("_count")}
    assert counts["2"] == 1


def test_answers_count_by_door_and_status(zoo: Server) -> None:
    def counted(door: str, status: int) -> float:
        return Metrics(zoo)("http_requests_total", door=door, status=str(status))

    doors = {"/healthz": 200, "/v1/models/nowhere": 404, "/nowhere": 404, "/v1/models/double/stream": 426}
    labels = ["/healthz", "/v1/models", "other", "/v1/stream"]
    before = [counted(label, status) for label, status in zip(labels, doors.values(), strict=True)]
    for path, status in doors.items():
        assert get(zoo, path).status == status
    after = [counted(label, status) for label, status in zip(labels, doors.values(), strict=True)]
    assert after == [count + 1 for count in before]
    infer = "/v2/models/{model}/infer"
    refused = counted(infer, 405)
    assert get(zoo, "/v2/models/double/infer").status == 405
    assert counted(infer, 405) == refused + 1


def test_sockets_that_the_server_closes_count_by_code(zoo: Server) -> None:
    before = Metrics(zoo)("sockets_closed_total", code="1009")
    with open_stream(zoo, "/v1/models/double/stream") as stream:
        stream.send_raw("x" * (2 << 20))
        assert stream.close_code() == 1009
    assert Metrics(zoo)("sockets_closed_total", code="1009") == before + 1
