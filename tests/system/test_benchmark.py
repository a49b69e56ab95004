"""The benchmark in its shortest form: it runs, its answers are right, and its figures are there."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.cluster_relay import PLACES, THERE

ROOT = Path(__file__).parents[2]
VIEWS = ["overview", "streams", "streams, scrolling", "one stream", "streams, hidden"]
SERVERS = "echo,waterspout-msgpack,waterspout-json,spike,tornado,fastapi"


def test_the_benchmark_measures_every_server_side_by_side(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    options = ["--quick", "--seconds", "0.2", "--shapes", "4x1", "--rate", "200", "--idle", "20", "--only", SERVERS]
    command = [sys.executable, "-m", "benchmarks.streaming", *options, "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = msgspec.json.decode(found.read_bytes())
    assert {sample["server"] for sample in results["samples"] if sample["shape"] == "4x1"} == set(SERVERS.split(","))
    assert all(sample["load"]["predictions"] > 0 for sample in results["samples"])
    assert not results["failures"]
    assert "## Must reach" in done.stdout


def test_a_polite_client_is_measured_beside_a_flooder() -> None:
    command = [sys.executable, "-m", "benchmarks.fairness", "--seconds", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| polite, beside the flooder | " in done.stdout


def test_the_dashboard_s_frames_are_measured_in_every_view() -> None:
    command = [sys.executable, "-m", "benchmarks.dashboard", "--keys", "20", "--seconds", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^\| ([a-z, ]+) \| (\d*) ?\|.*% \|$", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == VIEWS
    assert all(int(frames) > 2 for name, frames in rows if "hidden" not in name)


ONCE = ("--seconds", "1", "--rounds", "1", "--repeats", "0")


def measure_cluster(*options: str) -> str:
    """Return what one part of the cluster's benchmark prints."""
    command = [sys.executable, "-m", "benchmarks.cluster", *options, *ONCE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_cluster_is_measured_by_workers() -> None:
    told = measure_cluster("--only", "throughput", "--workers", "1,2", "--row-ms", "0.5")
    rows = re.findall(r"^\| 1 \| (\d) \| ([\d,]+) \| [\d.]+ \| ([\d.]+) \|", told, re.MULTILINE)
    assert [workers for workers, _, _ in rows] == ["1", "2"]
    assert all(int(rate.replace(",", "")) > 0 and float(milliseconds) > 0.25 for _, rate, milliseconds in rows)


@pytest.mark.slow
def test_relayed_updates_are_counted_where_somebody_watches_elsewhere() -> None:
    told = measure_cluster("--only", "relay")
    rows = re.findall(r"^\| 1 \| (nobody|at .*?) \|.*\| ([\d.]+) a prediction \|", told, re.MULTILINE)
    assert [place for place, _ in rows] == [*PLACES, *PLACES]
    assert all((float(relayed) > 0) == (place == THERE) for place, relayed in rows)
