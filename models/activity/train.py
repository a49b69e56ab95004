"""Train the activity classifier on BasicMotions and write it as an ONNX graph.

The graph is a fixed bank of random dilated convolutions, the logarithm of each one's mean absolute
response, and a logistic regression fitted on those. The convolutions are drawn, not learned: forty
recordings are too few to learn them from, and the mean barely notices where in the window a movement falls.

Usage: python train.py [--output FOLDER] [--seed SEED]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from aeon.datasets import load_basic_motions
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

LENGTH, CHANNELS = 100, 6
SHIFTS = range(0, LENGTH, 10)
DILATIONS = (1, 2, 4)
KERNELS, TAPS = 16, 9
# Keeps the logarithm finite on a watch lying on a table. In units of a channel's standard deviation.
FLOOR = 0.01
# Forty of forty right supports a confidence of about 41/42 (the rule of succession), and held-out recordings
# get about that under this penalty. Weaker ones only push the scores of separable classes towards 1.
INVERSE_PENALTY = 0.3
METADATA = {
    "author": "Waterspout",
    "description": "Human activity from ten seconds of a smartwatch's accelerometer and gyroscope.",
    "training_data": "BasicMotions, train split (40 recordings), UEA multivariate time series classification "
    "archive, as shipped in the Python package aeon.",
    "training_data_license": "None stated with the data. The aeon package that ships it is BSD-3-Clause.",
}


def load(split: str) -> tuple[Floats, Labels, list[str]]:
    """Read one split of BasicMotions.

    Returns samples [recordings, 100, 6], labels [recordings] and the class names the labels index.
    """
    series, names = load_basic_motions(split=split)
    classes, labels = np.unique(names, return_inverse=True)
    samples = np.ascontiguousarray(series.transpose(0, 2, 1), dtype=np.float32)
    return samples, labels.astype(np.int64), [str(name) for name in classes]


def shifted(samples: Floats) -> Floats:
    """Rotate every recording in time by every multiple of ten samples.

    Takes [n, 100, 6] and returns [10 * n, 100, 6], one whole shift after another.
    """
    return np.concatenate([np.roll(samples, shift, axis=1) for shift in SHIFTS])


def augment(samples: Floats, rng: np.random.Generator) -> Floats:
    """Shift recordings, vary their strength by about 10 % and add 2 % noise.

    Takes [n, 100, 6] and returns [10 * n, 100, 6], ordered as `shifted` orders them.
    """
    rotated = shifted(samples)
    strength = np.exp(rng.normal(0.0, 0.1, (len(rotated), 1, 1)))
    noise = rng.normal(0.0, 0.02, rotated.shape) * samples.std(axis=(0, 1))
    augmented: Floats = (rotated * strength + noise).astype(np.float32)
    return augmented


def draw_kernels(rng: np.random.Generator, dilation: int, spread: Floats) -> Floats:
    """Draw one dilation's kernels, each on one to three channels.

    Every kernel sums to zero over time on each channel, so a sensor's offset cannot reach the features.
    `spread` [6] is each channel's standard deviation, in the units of the samples. Returns [16, 6, 9], scaled
    so that the sum of absolute responses over a window is their mean.
    """
    kernels = rng.normal(size=(KERNELS, CHANNELS, TAPS))
    kernels -= kernels.mean(axis=2, keepdims=True)
    for kernel, count in zip(kernels, rng.integers(1, 4, KERNELS), strict=True):
        kernel[rng.permutation(CHANNELS)[count:]] = 0.0
    kernels /= np.sqrt((kernels**2).sum(axis=(1, 2), keepdims=True))
    responses = LENGTH - (TAPS - 1) * dilation
    return (kernels / spread[:, None] / responses).astype(np.float32)


def build(banks: list[Floats], head: tuple[Floats, Floats] | None) -> onnx.ModelProto:
    """Write the graph from `samples` [batch, 100, 6] to `scores` [batch, classes].

    `head` holds the regression's weights [features, classes] and bias [classes]. Without it the graph ends
    at `features` [batch, features], which is what the regression is fitted on.
    """
    nodes = [helper.make_node("Transpose", ["samples"], ["series"], perm=[0, 2, 1])]
    weights = {"floor": np.array(FLOOR, dtype=np.float32)}
    for dilation, bank in zip(DILATIONS, banks, strict=True):
        kernels, responses, means = (f"{name}_{dilation}" for name in ("kernels", "responses", "means"))
        weights[kernels] = bank
        nodes += [
            helper.make_node("Conv", ["series", kernels], [responses], dilations=[dilation]),
            helper.make_node("ReduceL1", [responses], [means], axes=[2], keepdims=0),
        ]
    nodes += [
        helper.make_node("Concat", [f"means_{dilation}" for dilation in DILATIONS], ["means"], axis=1),
        helper.make_node("Add", ["means", "floor"], ["raised"]),
        helper.make_node("Log", ["raised"], ["features"]),
    ]
    output, width = "features", sum(map(len, banks))
    if head is not None:
        weights["head_weights"], weights["head_bias"] = head
        nodes += [
            helper.make_node("Gemm", ["features", "head_weights", "head_bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ]
        output, width = "scores", len(head[1])
    graph = helper.make_graph(
        nodes,
        "activity",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", LENGTH, CHANNELS])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
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


def run(session: ort.InferenceSession, samples: Floats) -> Floats:
    """Run samples [n, 100, 6] through a graph and return its one output [n, width]."""
    (output,) = session.run(None, {"samples": samples})
    return np.asarray(output, dtype=np.float32)


def train(samples: Floats, labels: Labels, seed: int) -> onnx.ModelProto:
    """Fit the classifier on recordings [n, 100, 6] and their labels [n]."""
    rng = np.random.default_rng(seed)
    spread = samples.std(axis=(0, 1))
    banks = [draw_kernels(rng, dilation, spread) for dilation in DILATIONS]
    features = run(open_session(build(banks, None)), augment(samples, rng)).astype(np.float64)
    scaler = StandardScaler().fit(features)
    regression = LogisticRegression(C=INVERSE_PENALTY, tol=1e-8, max_iter=10_000)
    regression.fit(scaler.transform(features), np.tile(labels, len(SHIFTS)))
    # The scaling of the features is folded into the head, so the graph needs no nodes for it.
    weights = regression.coef_.T / scaler.scale_[:, None]
    bias = regression.intercept_ - scaler.mean_ @ weights
    return build(banks, (weights.astype(np.float32), bias.astype(np.float32)))


def report(title: str, scores: Floats, labels: Labels) -> None:
    """Print how well scores [n, classes] fit labels [n]."""
    right = int((scores.argmax(axis=1) == labels).sum())
    loss = -np.log(scores[np.arange(len(labels)), labels]).mean()
    print(
        f"{title:<34} {right:>5} of {len(labels):<5} {right / len(labels):8.2%}   log loss {loss:.3f}   "
        f"top score: mean {scores.max(axis=1).mean():.3f}, least {scores.max(axis=1).min():.3f}"
    )


def cross_validate(samples: Floats, labels: Labels, seed: int) -> None:
    """Print the scores of held-out recordings: five folds, five times, each time the whole training anew."""
    plain, rotated, truth = [], [], []
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=5, random_state=seed)
    for kept, held in folds.split(samples, labels):
        session = open_session(train(samples[kept], labels[kept], seed))
        plain.append(run(session, samples[held]))
        rotated.append(run(session, shifted(samples[held])))
        truth.append(labels[held])
    report("cross-validation", np.concatenate(plain), np.concatenate(truth))
    rotated_truth = np.concatenate([np.tile(part, len(SHIFTS)) for part in truth])
    report("cross-validation, all shifts", np.concatenate(rotated), rotated_truth)


def measure(session: ort.InferenceSession, samples: Floats, repeats: int = 2000) -> float:
    """Return the median time of one run in microseconds, after a tenth of the repeats as warm-up."""
    times = []
    for _ in range(repeats + repeats // 10):
        started = time.perf_counter_ns()
        session.run(None, {"samples": samples})
        times.append(time.perf_counter_ns() - started)
    return float(np.median(times[repeats // 10 :])) / 1e3


def main() -> None:
    """Train, evaluate and write `1/model.onnx` and `test_split.npz`."""
    parser = argparse.ArgumentParser(description="Train the activity classifier.")
    here = Path(__file__).resolve().parent
    parser.add_argument("--output", type=Path, default=here, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="seed of the kernels, the noise and the folds")
    arguments = parser.parse_args()

    samples, labels, classes = load("train")
    test_samples, test_labels, test_classes = load("test")
    if classes != test_classes:
        raise ValueError(f"the splits name different classes: {classes} and {test_classes}")
    print(f"classes: {', '.join(classes)}")

    cross_validate(samples, labels, arguments.seed)
    model = train(samples, labels, arguments.seed)
    session = open_session(model)
    scores = run(session, test_samples)
    report("test", scores, test_labels)
    report("test, all shifts", run(session, shifted(test_samples)), np.tile(test_labels, len(SHIFTS)))
    report("test, readings halved", run(session, test_samples * np.float32(0.5)), test_labels)
    report("test, readings doubled", run(session, test_samples * np.float32(2.0)), test_labels)

    alone = np.concatenate([run(session, row[None]) for row in test_samples])
    print(f"largest change of a score between a batch and a row alone: {np.abs(alone - scores).max():.1e}")
    batch = np.resize(test_samples, (64, LENGTH, CHANNELS))
    print(f"one row: {measure(session, batch[:1]):.0f} us", end=", ")
    print(f"batch of 64: {measure(session, batch, 300) / 64:.1f} us a row (one thread, median)")

    path = arguments.output / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    test_path = arguments.output / "test_split.npz"
    np.savez_compressed(test_path, samples=test_samples, labels=test_labels, classes=np.array(classes))
    for written in (path, test_path):
        print(f"{written}: {written.stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
