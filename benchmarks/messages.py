"""The events that the load generator sends, encoded beforehand, and the answers that they must get."""

from typing import Any

import msgspec
import numpy as np
from picows import WSMsgType

from benchmarks import mlp
from benchmarks.jobs import Encoding

FIRST_ID = 256
"""The ids of all 256 rows take the same number of bytes in either encoding."""

TOLERANCE = 1e-5
"""float32 sums differ this much between the order of a batch of 1 and of a batch of 256."""


class WrongAnswerError(Exception):
    """A server answered with an error, to another event, or with other numbers than the model gives."""


class Messages:
    """Encode the model's rows as events and check answers to them; an echo must return the event itself."""

    def __init__(self, encoding: Encoding, *, echoed: bool, expected: bytes = b"") -> None:
        """Take what the model answers, float32[256, 8] in `expected`; empty: as the perceptron does."""
        rows = mlp.readings()
        if encoding == "json":
            events = [{"id": FIRST_ID + i, "data": row.tolist()} for i, row in enumerate(rows)]
            self.encoded = [msgspec.json.encode(event) for event in events]
            self.kind = WSMsgType.TEXT
        else:
            events = [{"id": FIRST_ID + i, "data": row.astype("<f4").tobytes()} for i, row in enumerate(rows)]
            self.encoded = [msgspec.msgpack.encode(event) for event in events]
            self.kind = WSMsgType.BINARY
        self._decode = msgspec.json.decode if encoding == "json" else msgspec.msgpack.decode
        self._echoed = echoed
        self._expected = np.frombuffer(expected, "<f4").reshape(-1, mlp.CLASSES) if expected else mlp.predict(rows)

    def check(self, row: int, answer: bytes) -> None:
        """Raise WrongAnswerError unless this is the answer to that row."""
        if self._echoed:
            if answer != self.encoded[row]:
                raise WrongAnswerError(f"the echo of row {row} differs from what was sent")
            return
        message = self._map(answer)
        if message.get("id") != FIRST_ID + row or "outputs" not in message:
            raise WrongAnswerError(f"expected the outputs of event {FIRST_ID + row}, got {message!r}")
        y = message["outputs"]["y"]
        scores = np.frombuffer(y, "<f4") if isinstance(y, bytes) else np.ravel(np.array(y, np.float64))
        if scores.shape != (mlp.CLASSES,) or not np.allclose(scores, self._expected[row], atol=TOLERANCE):
            raise WrongAnswerError(f"event {FIRST_ID + row}: expected {self._expected[row]}, got {scores}")

    def check_welcome(self, message: bytes) -> None:
        """Raise WrongAnswerError unless this is the server's greeting."""
        if self._map(message).get("op") != "welcome":
            raise WrongAnswerError(f"expected a welcome, got {message!r}")

    def _map(self, message: bytes) -> dict[str, Any]:
        decoded = self._decode(message)
        if not isinstance(decoded, dict) or "error" in decoded:
            raise WrongAnswerError(f"expected a map without an error, got {decoded!r}")
        return decoded
