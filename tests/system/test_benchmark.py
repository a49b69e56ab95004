"""The benchmark in its shortest form: it runs, its answers are right, and its figures are there."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec

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


def test_a_cluster_is_measured_by_workers_and_with_a_watcher_elsewhere() -> None:
    options = ["--only", "throughput,relay", "--seconds", "0.5", "--rounds", "1", "--workers", "1,2"]
    command = [sys.executable, "-m", "benchmarks.cluster", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    by_workers = re.findall(r"^\| 1 \| (\d) \| ([\d,]+) \| [\d.]+ \| ([\d.]+) \|", done.stdout, re.MULTILINE)
    assert [workers for workers, _, _ in by_workers] == ["1", "2"]
    assert all(int(rate) > 0 and float(milliseconds) > 1 for _, rate, milliseconds in by_workers)
    relayed = dict(re.findall(r"^\| 1 \| (nobody|at .*?) \|.*\| ([\d.]+) a prediction \|", done.stdout, re.MULTILINE))
    assert float(relayed.pop("at the other process")) > 0.5
    assert set(relayed.values()) == {"0.00"}
