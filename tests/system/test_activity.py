"""The shipped model on the recordings that it was not trained on, measured through the server."""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pytest

from .client import ENCODINGS, Message, Stream, open_stream
from .process import ROOT, Server

DOOR: Final = "/v1/models/activity/stream"
RECORDINGS: Final = ROOT / "models" / "activity" / "test_split.npz"
LEAST_ACCURACY: Final = 0.975
HOP: Final = 10


class Split(NamedTuple):
    """Recordings of 100 samples of six channels, and what was done in each."""

    samples: list[list[list[float]]]
    labels: list[str]


def load(path: Path = RECORDINGS) -> Split:
    """Read the test split."""
    with np.load(path) as file:
        names = [str(name) for name in file["classes"]]
        return Split(file["samples"].tolist(), [names[index] for index in file["labels"]])


@pytest.fixture(scope="module")
def split() -> Split:
    """Give the test split."""
    return load()


def predict_all(stream: Stream, split: Split, chunk: int) -> dict[str, list[Message]]:
    """Stream all recordings side by side, a key each, in chunks; return the predictions of each key."""
    for start in range(0, len(split.samples[0]), chunk):
        for number, recording in enumerate(split.samples):
            data = recording[start] if chunk == 1 else recording[start : start + chunk]
            stream.send({"key": f"watch-{number}", "id": start + chunk - 1, "data": data})
    found: dict[str, list[Message]] = {}
    for answer in stream.until_pong("all sent"):
        found.setdefault(answer["key"], []).append(answer)
    while sum(map(len, found.values())) < len(split.samples):
        answer = stream.receive()
        found.setdefault(answer["key"], []).append(answer)
    return found


def accuracy(found: dict[str, list[Message]], split: Split) -> float:
    """Return the share of recordings whose only prediction is right."""
    assert sorted(map(len, found.values())) == [1] * len(split.labels)
    right = sum(found[f"watch-{number}"][0]["label"] == label for number, label in enumerate(split.labels))
    return float(right / len(split.labels))


def test_the_split_is_what_the_measure_is_about(split: Split) -> None:
    assert np.shape(split.samples) == (40, 100, 6)
    assert sorted(set(split.labels)) == ["badminton", "running", "standing", "walking"]
    assert all(split.labels.count(label) == 10 for label in split.labels)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_accuracy_sample_by_sample_over_one_socket(shipped: Server, split: Split, encoding: str) -> None:
    with open_stream(shipped, DOOR, encoding, announced=True) as stream:
        stream.receive()
        found = predict_all(stream, split, chunk=1)
    assert accuracy(found, split) >= LEAST_ACCURACY
    assert {answer["id"] for (answer,) in found.values()} == {99}  # the event that completed the window


def test_accuracy_with_a_socket_for_each_recording(shipped: Server, split: Split) -> None:
    right = 0
    for recording, label in zip(split.samples, split.labels, strict=True):
        with open_stream(shipped, DOOR) as stream:
            for sample in recording:
                stream.send({"data": sample})
            right += stream.receive()["label"] == label
    assert right / len(split.labels) >= LEAST_ACCURACY


@pytest.mark.parametrize("chunk", [5, 20, 100])
def test_chunks_give_the_predictions_that_single_samples_give(shipped: Server, split: Split, chunk: int) -> None:
    with open_stream(shipped, DOOR) as stream:
        singly = predict_all(stream, split, chunk=1)
    with open_stream(shipped, DOOR) as stream:
        in_chunks = predict_all(stream, split, chunk)
    for key, (answer,) in singly.items():
        (other,) = in_chunks[key]
        assert other["label"] == answer["label"]
        np.testing.assert_allclose(other["outputs"]["scores"], answer["outputs"]["scores"], rtol=1e-4, atol=1e-6)


def test_a_looped_recording_is_predicted_at_every_hop(shipped: Server, split: Split) -> None:
    rounds = 3
    with open_stream(shipped, DOOR) as stream:
        for _ in range(rounds):
            for sample in split.samples[0]:
                stream.send({"data": sample})
        answers = [stream.receive() for _ in range((rounds - 1) * 100 // HOP + 1)]
        assert [answer["seq"] for answer in answers] == list(range(99, rounds * 100, HOP))
        assert stream.until_pong("no more") == []
    assert {answer["label"] for answer in answers} == {split.labels[0]}


def test_scores_are_probabilities_and_the_label_is_the_likeliest(shipped: Server, split: Split) -> None:
    names = ["badminton", "running", "standing", "walking"]
    with open_stream(shipped, DOOR) as stream:
        for recording in split.samples[::10]:
            answer = stream.ask({"data": recording})
            stream.send({"op": "reset"})
            scores = answer["outputs"]["scores"]
            assert sum(scores) == pytest.approx(1, abs=1e-4)
            assert names[int(np.argmax(scores))] == answer["label"]
