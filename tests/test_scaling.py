"""docs/scaling.md calculates: its figures are those of their origins, and what it makes of them is worked out again."""

import re
from math import ceil, floor
from pathlib import Path
from statistics import mean

import pytest

from benchmarks.mlp import CLASSES, FEATURES
from pipeline.remote_engine import MAX_ENTRY_ROWS
from pipeline.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
SCALING = (DOCS / "scaling.md").read_text()
PERFORMANCE = (DOCS / "performance.md").read_text()

FLOAT32 = 4  # bytes
SOCKETS = 1_000_000
WORKERS_AT_LEAST = 2
PARTS = ("gateway", "worker", "Redis")

Rows = dict[str, list[str]]


def number(text: str) -> float:
    """Return the first number in a text."""
    found = re.search(r"\d[\d,]*(?:\.\d+)?", text)
    assert found is not None, f"no number in {text!r}"
    return float(found[0].replace(",", ""))


def numbers(pattern: str, text: str = SCALING) -> list[float]:
    """Return the groups of the only match of a pattern, in which a space is any white space."""
    (found,) = re.findall(pattern.replace(" ", r"\s+"), text)
    return [number(group) for group in ([found] if isinstance(found, str) else found)]


def table(head: str, text: str) -> Rows:
    """Return the cells of the first table whose head begins like this, by the first cell of each row."""
    lines = iter(text[text.index(f"\n| {head}") + 1 :].splitlines())
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in iter(lambda: next(lines, ""), "")]
    return {first: cells for first, *cells in rows}


def section(heading: str) -> str:
    """Return what stands below a heading of docs/performance.md."""
    return PERFORMANCE.partition(f"\n{heading}\n")[2]


FIGURES = {letter: cells[0] for letter, cells in table("| figure | origin", SCALING).items()}
BYTES_A_SOCKET = number(FIGURES["a"])
BYTES_A_PROCESS = number(FIGURES["b"]) * 1e6
MICROSECONDS = number(FIGURES["c"])
TIMES = number(FIGURES["d"])
BUSY = number(FIGURES["f"]) / 100
SOCKETS_A_GATEWAY = number(FIGURES["h"])

BY_PART = table("part | share (e)", SCALING)
BY_CADENCE = table("1,000,000 sockets that send", SCALING)
PERIODS = [60, 10, 1]  # seconds
EVENTS = [round(SOCKETS / period, -2) for period in PERIODS]


def of_part(column: int) -> list[float]:
    """Return a column of the table of parts, without its last line."""
    rows = {name.partition(",")[0]: cells for name, cells in BY_PART.items()}
    return [number(rows[part][column]) for part in PARTS]


def capacities() -> list[float]:
    """Return the predictions/s that a core carries as each part, rounded down to thousands."""
    return [floor(BUSY / cost * 1e3) * 1e3 for cost in of_part(1)]


def cadence(label: str) -> list[str]:
    """Return the cells of the row whose name begins like this."""
    (cells,) = [cells for name, cells in BY_CADENCE.items() if name.replace("*", "").startswith(label)]
    return cells


def divisor(label: str) -> float:
    """Return what events are divided by in the row whose name begins like this."""
    (name,) = [name for name in BY_CADENCE if name.replace("*", "").startswith(label)]
    return numbers(r"events / ([\d,]+)", name)[0]


def test_measured_figures_are_those_of_their_origin() -> None:
    assert number(table("server | sockets", section("### Idle sockets"))["waterspout-msgpack"][3]) == BYTES_A_SOCKET
    assert number(table("server", section("### 100x1"))["waterspout-msgpack"][5]) * 1e6 == BYTES_A_PROCESS
    assert number(table("server", section("### 1000x1"))["waterspout-msgpack"][3]) == MICROSECONDS


def test_a_row_and_an_answer_are_as_large_as_those_of_the_perceptron() -> None:
    assert numbers(r"(\d+) bytes a row, (\d+) bytes an answer") == [FEATURES * FLOAT32, CLASSES * FLOAT32]


def test_shares_are_those_of_the_minimal_cluster() -> None:
    costs = numbers(r"([\d.]+) \+ ([\d.]+) \+ ([\d.]+) µs for gateway, worker and Redis")
    shares = [round(100 * cost / sum(costs), 1) for cost in costs]
    assert numbers(r"shares of ([\d.]+), ([\d.]+) and ([\d.]+) %") == shares
    assert of_part(0) == shares


def test_targets_are_shares_of_what_all_may_cost() -> None:
    shares = of_part(0)
    assert of_part(1) == [round(share / 100 * TIMES * MICROSECONDS, 1) for share in shares]
    assert number(BY_PART["together"][1]) == round(TIMES * MICROSECONDS, 1)


def test_what_was_measured_is_the_mean_of_the_rounds() -> None:
    rounds = table("round | one process | gateway", PERFORMANCE)
    columns = [[number(cells[place]) for name, cells in rounds.items() if name.isdecimal()] for place in range(5)]
    single, gateway, redis, worker, together = (round(mean(column), 1) for column in columns)
    assert of_part(2) == [gateway, worker, redis]
    assert numbers(
        r"together \|[^|]*\|[^|]*\| ([\d.]+) µs, ([\d.]+) x the single process of that hour \(([\d.]+) µs"
    ) == [
        together,
        round(together / single, 2),
        single,
    ]


@pytest.mark.parametrize(("shape", "words"), [("100x1", "from {} at 100x1"), ("4000x1", "to {} at 4000x1")])
def test_costs_by_sockets_are_those_of_one_worker(shape: str, words: str) -> None:
    rows = [line.strip("| ").split(" | ") for line in PERFORMANCE.splitlines() if line.startswith(f"| {shape} | 1 |")]
    ((*_, gateway, redis, workers),) = rows
    costs = numbers(words.format(r"(\d+) \+ ([\d.]+) \+ ([\d.]+) µs"))
    assert costs == [round(float(gateway)), float(redis), float(workers)]


def test_a_core_carries_what_its_share_of_the_time_allows() -> None:
    quotients = re.findall(r"([\d.]+) s / ([\d.]+) µs = ([\d,]+)", SCALING)
    assert [float(busy) for busy, _, _ in quotients] == [BUSY] * 3
    assert [float(cost) for _, cost, _ in quotients] == of_part(1)
    assert [number(rate) for _, _, rate in quotients] == capacities()


def test_events_follow_from_how_often_sockets_send() -> None:
    assert cadence("events/s") == [f"{events:,.0f}" for events in EVENTS]


def test_gateways_are_enough_for_events_and_for_sockets() -> None:
    capacity, _, _ = capacities()
    for_events = [ceil(events / capacity) for events in EVENTS]
    for_sockets = ceil(SOCKETS / SOCKETS_A_GATEWAY)
    assert divisor("gateway processes for the CPU") == capacity
    assert cadence("gateway processes for the CPU") == [str(count) for count in for_events]
    assert cadence("gateway processes for the sockets") == [str(for_sockets)] * len(EVENTS)
    assert cadence("gateway processes (the larger)") == [str(max(count, for_sockets)) for count in for_events]


def test_memory_is_that_of_sockets_and_processes() -> None:
    processes = map(int, cadence("gateway processes (the larger)"))
    used = [SOCKETS * BYTES_A_SOCKET + count * BYTES_A_PROCESS for count in processes]
    assert cadence("memory of the gateways") == [f"{size / 1e9:.1f} GB" for size in used]


def test_workers_and_redis_are_enough_for_events() -> None:
    _, worker, redis = capacities()
    assert divisor("worker cores") == worker
    assert cadence("worker cores") == [str(max(WORKERS_AT_LEAST, ceil(events / worker))) for events in EVENTS]
    assert divisor("Redis primaries") == redis
    assert cadence("Redis primaries") == [str(ceil(events / redis)) for events in EVENTS]


def test_bytes_through_redis_are_those_of_rows_and_answers() -> None:
    row, answer = FEATURES * FLOAT32, CLASSES * FLOAT32
    told = [f"{events * row / 1e6:.0f} + {events * answer / 1e6:.0f} MB/s" for events in EVENTS]
    assert cadence("through Redis each way") == told


def test_memory_of_redis_is_what_is_under_way_or_may_wait() -> None:
    header, size, seconds = numbers(r"\(g \+ about (\d+) bytes\), (\d+) MB at a million events/s and ([\d.]+) s")
    assert size == round(SOCKETS * seconds * (FEATURES * FLOAT32 + header) / 1e6)
    rows, row, size = numbers(r"`max_lag` x (\d+) rows x (\d+) bytes = (\d+) MB a queue")
    assert (rows, row) == (MAX_ENTRY_ROWS, FEATURES * FLOAT32)
    assert size == round(Settings.model_fields["max_lag"].default * rows * row / 1e6)


def test_looking_around_is_what_all_gateways_read_of_all_workers() -> None:
    pattern = (
        r"With (\d+) gateways, (\d+) workers and (\d+) models of 1 KB that is (\d+) MB/s, of 1 model ([\d.]+) MB/s"
    )
    gateways, workers, models, many, one = numbers(pattern)
    assert [gateways, workers] == [
        number(cadence("gateway processes (the larger)")[-1]),
        number(cadence("worker cores")[-1]),
    ]
    assert many == round(gateways * workers * models * 1e3 / 1e6)
    assert one == round(gateways * workers * 1e3 / 1e6, 1)


def test_shards_are_spread_over_the_primaries_of_the_last_column() -> None:
    primaries = int(cadence("Redis primaries")[-1])
    shards = 4 * primaries
    assert numbers(r"The (\d+) primaries of the last column") == [primaries]
    assert numbers(r"With `--shards (\d+)`, four times the primaries, each of them gets (\d+) shards") == [shards, 4]
    most, even = round(100 * 5 / shards), round(100 * 4 / shards)
    assert numbers(r"(\d+) of (\d+) are (\d+) % of the events instead of (\d+) %") == [5, shards, most, even]
    processes = [int(cadence(name)[-1]) for name in ("gateway processes (the larger)", "worker cores")]
    assert numbers(r"(\d+) x \((\d+) \+ (\d+)\) = ([\d,]+)") == [shards, *processes, shards * sum(processes)]
