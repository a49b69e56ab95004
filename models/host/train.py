"""Fit the anomaly scores of a machine's counters on recorded quiet time and write them as an ONNX graph.

The graph compares the last three seconds with the median of thirty, channel by channel, in units of what quiet time
does. Three numbers per channel and one for all are fitted; the rest is arithmetic.

Usage: python -m models.host.train [--output FOLDER], in the folder of the repository
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from examples.counters import CHANNELS
from models.host.loads import KINDS
from models.host.record import RECORDINGS, is_calm

Floats = NDArray[np.float32]

PER_SECOND, SECONDS, RECENT = 10, 30, 3
LENGTH, HOP = PER_SECOND * SECONDS, 5
QUIET_QUANTILE = 0.999
# Of normally distributed values this times the median absolute deviation is the standard deviation.
TO_DEVIATION = 1.4826
# Changes that nobody wants to hear of, however still a machine otherwise is: 2 % of its time, 0.2 % of its memory,
# a quarter more switches, interrupts or bytes.
LEAST = {"cpu": 0.02, "system": 0.02, "busiest": 0.02, "iowait": 0.02, "memory": 0.002}
LEAST_LOGARITHM = 0.1
# The alert that config.toml proposes, in windows.
ALERT_ABOVE, ALERT_FOR, COOLDOWN = 2.0, 3, 60
METADATA = {
    "author": "Waterspout",
    "description": "How unusual the last three seconds of a machine's counters are beside its last thirty.",
    "training_data": "Quiet recordings of one virtual machine with two cores, recorded for this model.",
    "training_data_license": "That of the repository.",
}


@dataclass
class Recording:
    """A stretch of time: `samples` [n, channels], `loads` [n] (0: none injected), `others` [n] in cores."""

    name: str
    samples: Floats
    loads: NDArray[np.int8]
    others: Floats

    @property
    def background(self) -> str:
        """What ran beside the recording: `idle`, `serving` or `busy`."""
        return self.name.partition("-")[0]

    @property
    def ends(self) -> NDArray[np.int64]:
        """The last sample of each window, as the server cuts them."""
        return np.arange(LENGTH - 1, len(self.samples), HOP)

    @property
    def windows(self) -> Floats:
        """All windows [windows, 300, channels]."""
        return np.stack([self.samples[end + 1 - LENGTH : end + 1] for end in self.ends])

    @property
    def calm(self) -> NDArray[np.bool_]:
        """Whether others left the machine alone at the end of a window, and in most of it [windows]."""
        return np.array([is_calm(self.others[end + 1 - LENGTH : end + 1]) for end in self.ends])

    @property
    def injected(self) -> NDArray[np.bool_]:
        """Whether a load was injected anywhere in a window [windows]."""
        return np.array([self.loads[end + 1 - LENGTH : end + 1].any() for end in self.ends])

    @property
    def quiet(self) -> NDArray[np.bool_]:
        """Whether a window is calm, of a machine that is not busy, and nothing was injected in it [windows]."""
        return np.logical_and(self.calm & (self.background != "busy"), ~self.injected)

    @property
    def busy(self) -> NDArray[np.bool_]:
        """Whether a window is of a busy machine, without anything injected [windows]."""
        return np.logical_and(self.background == "busy", ~self.injected)

    def injections(self) -> Iterator[tuple[str, int, int]]:
        """Yield each load's kind, its first sample and the sample after its last."""
        edges = np.flatnonzero(np.diff(self.loads, prepend=0, append=0))
        for start, end in itertools.pairwise(edges):
            if self.loads[start]:
                yield list(KINDS)[self.loads[start] - 1], int(start), int(end)


def load(path: Path) -> tuple[list[Recording], list[Recording]]:
    """Read the recordings; return those to fit on and those to test on.

    Those with injected loads or of a busy machine are for testing, and so is the later half of the others of either
    background.
    """
    with np.load(path) as file:
        names = sorted({name.partition("/")[0] for name in file})
        recordings = [
            Recording(name, file[f"{name}/samples"], file[f"{name}/loads"], file[f"{name}/others"]) for name in names
        ]
    fit: list[Recording] = []
    test = [each for each in recordings if each.background == "busy" or each.loads.any()]
    for background in ("idle", "serving"):
        alike = [each for each in recordings if each.background == background and not each.loads.any()]
        half = (len(alike) + 1) // 2
        fit += alike[:half]
        test += alike[half:]
    return fit, test


def median(name: str) -> list[onnx.NodeProto]:
    """Return the nodes of a median over the seconds: [batch, 30, channels] to [batch, 1, channels], `NAME_median`."""
    return [
        helper.make_node("TopK", [name, "upper_half"], [f"{name}_top", f"{name}_at"], axis=1),
        helper.make_node("Slice", [f"{name}_top", "middle", "upper_half", "seconds_axis"], [f"{name}_middle"]),
        helper.make_node("ReduceMean", [f"{name}_middle"], [f"{name}_median"], axes=[1]),
    ]


def build(usual: Floats | None = None, limits: Floats | None = None) -> onnx.ModelProto:
    """Write the graph from `samples` [batch, 300, channels] to `score` [batch] and `channels` [batch, channels].

    `usual` [channels] is how far quiet time strays, `limits` [channels] what counts as 1. Without the limits the
    output is `strays` [batch, channels], without both it is `change` [batch, channels], in the samples' own units.
    """
    constants: dict[str, NDArray[np.int64] | Floats] = {
        "by_second": np.array([0, SECONDS, PER_SECOND, len(CHANNELS)]),
        "seconds_axis": np.array([1]),
        "first_recent": np.array([SECONDS - RECENT]),
        "all_seconds": np.array([SECONDS]),
        "middle": np.array([SECONDS // 2 - 1]),
        "upper_half": np.array([SECONDS // 2 + 1]),
    }
    nodes = [
        helper.make_node("Reshape", ["samples", "by_second"], ["sliced"]),
        helper.make_node("ReduceMean", ["sliced"], ["seconds"], axes=[2], keepdims=0),
        *median("seconds"),
        helper.make_node("Slice", ["seconds", "first_recent", "all_seconds", "seconds_axis"], ["last_seconds"]),
        helper.make_node("ReduceMean", ["last_seconds"], ["recent"], axes=[1]),
        helper.make_node("Sub", ["recent", "seconds_median"], ["recent_change"]),
        helper.make_node("Squeeze", ["recent_change", "seconds_axis"], ["change"]),
    ]
    outputs: dict[str, Sequence[str | int]] = {"change": ["batch", len(CHANNELS)]}
    if usual is not None:
        constants["usual_squared"] = usual**2
        constants["to_deviation"] = np.array(TO_DEVIATION, np.float32)
        nodes += [
            helper.make_node("Sub", ["seconds", "seconds_median"], ["offsets"]),
            helper.make_node("Abs", ["offsets"], ["distances"]),
            *median("distances"),
            helper.make_node("Squeeze", ["distances_median", "seconds_axis"], ["unrest"]),
            helper.make_node("Mul", ["unrest", "to_deviation"], ["own"]),
            helper.make_node("Mul", ["own", "own"], ["own_squared"]),
            helper.make_node("Add", ["own_squared", "usual_squared"], ["spread_squared"]),
            helper.make_node("Sqrt", ["spread_squared"], ["spread"]),
            helper.make_node("Abs", ["change"], ["distance"]),
            helper.make_node("Div", ["distance", "spread"], ["strays"]),
        ]
        outputs = {"strays": ["batch", len(CHANNELS)]}
    if limits is not None:
        constants["limits"] = limits
        nodes += [
            helper.make_node("Div", ["strays", "limits"], ["channels"]),
            helper.make_node("ReduceMax", ["channels"], ["score"], axes=[1], keepdims=0),
        ]
        outputs = {"score": ["batch"], "channels": ["batch", len(CHANNELS)]}
    graph = helper.make_graph(
        nodes,
        "host",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", LENGTH, len(CHANNELS)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="Waterspout"
    )
    helper.set_model_props(model, METADATA)
    onnx.checker.check_model(model, full_check=True)
    return model


def open_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Load a graph into onnxruntime on one CPU thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, samples: Floats) -> Floats:
    """Run samples [n, 300, channels] through a graph and return its first output."""
    return np.asarray(open_session(model).run(None, {"samples": samples})[0], dtype=np.float32)


def train(recordings: list[Recording]) -> onnx.ModelProto:
    """Fit the scores on the quiet windows of recordings."""
    quiet = np.concatenate([recording.windows[recording.quiet] for recording in recordings])
    least = np.array([LEAST.get(channel, LEAST_LOGARITHM) for channel in CHANNELS])
    usual = np.maximum(np.sqrt((run(build(), quiet).astype(np.float64) ** 2).mean(axis=0)), least).astype(np.float32)
    strays = run(build(usual), quiet)
    limits = np.maximum(np.quantile(strays, QUIET_QUANTILE, axis=0), 1.0)
    # Each channel crosses its limit at times of its own; all of them together may do so once in a thousand windows.
    limits *= np.quantile((strays / limits).max(axis=1), QUIET_QUANTILE)
    return build(usual, limits.astype(np.float32))


def first_alarm(scores: Floats) -> int | None:
    """Return at which of the scores the alert goes off, if at any."""
    above = 0
    for number, score in enumerate(scores):
        above = above + 1 if score > ALERT_ABOVE else 0
        if above == ALERT_FOR:
            return number
    return None


def area(quiet: Floats, loaded: Floats) -> float:
    """Return the area under the ROC curve: how often a score under load is above one of quiet time."""
    below = np.searchsorted(np.sort(quiet), loaded, side="left")
    not_above = np.searchsorted(np.sort(quiet), loaded, side="right")
    return float((below + not_above).mean() / 2 / len(quiet))


def report_time(title: str, recordings: list[Recording], scores: list[Floats], *, quiet: bool = True) -> Floats:
    """Print what the scores are like while nothing is injected, in quiet time or on a busy machine; return them."""
    chosen, alarms = [], 0
    for recording, each in zip(recordings, scores, strict=True):
        wanted = recording.quiet if quiet else recording.busy
        chosen.append(each[wanted])
        left = np.where(wanted, each, 0)
        while (number := first_alarm(left)) is not None:
            alarms += 1
            left = left[number + COOLDOWN :]
    found = np.concatenate(chosen)
    hours = len(found) * HOP / PER_SECOND / 3600
    print(
        f"{title:<15} {hours * 60:5.1f} min   score: median {np.median(found):.2f}, "
        f"99 % {np.quantile(found, 0.99):.2f}, highest {found.max():.2f}   above 1: {(found > 1).mean():.2%}   "
        f"alarms: {alarms} ({alarms / hours:.1f} an hour)"
    )
    return found


def report_load(kind: str, quiet: Floats, recordings: list[Recording], scores: list[Floats]) -> Floats:
    """Print how the scores under a kind of load stand above those of quiet time, and when the alert goes off.

    Windows are left out while others are at work, and times in which they were for the delays. Returns the scores.
    """
    chosen, undisturbed, delays = [], 0, []
    for recording, each in zip(recordings, scores, strict=True):
        for injected, start, end in recording.injections():
            under = (recording.ends >= start) & (recording.ends < end)
            if injected == kind:
                chosen.append(each[under & recording.calm])
                if recording.calm[under].all():
                    undisturbed += 1
                    if (number := first_alarm(each[under])) is not None:
                        delays.append((recording.ends[under][number] - start + 1) / PER_SECOND)
    loaded = np.concatenate(chosen)
    after = f" after {np.median(delays):.1f} s, at the latest {max(delays):.1f} s" if delays else ""
    print(
        f"{kind:<15} {len(loaded):>4} windows   score: median {np.median(loaded):5.2f}   "
        f"AUC {area(quiet, loaded):.3f}   alarms: {len(delays)} of {undisturbed}{after}"
    )
    return loaded


def measure(model: onnx.ModelProto, rows: int, repeats: int = 500) -> float:
    """Return the median time of one run in microseconds, after a tenth of the repeats as warm-up."""
    session = open_session(model)
    samples = np.zeros((rows, LENGTH, len(CHANNELS)), np.float32)
    times = []
    for _ in range(repeats + repeats // 10):
        started = time.perf_counter_ns()
        session.run(None, {"samples": samples})
        times.append(time.perf_counter_ns() - started)
    return float(np.median(times[repeats // 10 :])) / 1e3


def main() -> None:
    """Fit, evaluate and write `1/model.onnx`."""
    parser = argparse.ArgumentParser(description="Fit the anomaly scores of a machine's counters.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    arguments = parser.parse_args()

    fit, test = load(RECORDINGS)
    model = train(fit)
    report_time("fitted on", fit, [run(model, recording.windows) for recording in fit])
    scores = [run(model, recording.windows) for recording in test]
    quiet = report_time("test, quiet", test, scores)
    loaded = np.concatenate([report_load(kind, quiet, test, scores) for kind in KINDS])
    print(f"{'all loads':<15} {len(loaded):>4} windows   AUC {area(quiet, loaded):.3f}")
    report_time("others at work", test, scores, quiet=False)
    print(f"one row: {measure(model, 1):.0f} us, batch of 64: {measure(model, 64) / 64:.1f} us a row (median)")

    path = arguments.output / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{path}: {path.stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
