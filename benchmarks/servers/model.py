"""The benchmark's model and its messages, as the comparison servers run and speak them."""

from typing import Any

import msgspec
import numpy as np
import onnxruntime  # type: ignore[import-untyped,unused-ignore]

from benchmarks.mlp import FEATURES


class Event(msgspec.Struct, gc=False):
    """One row to predict: `data` is 64 little-endian float32."""

    id: int
    data: bytes


decode_event = msgspec.msgpack.Decoder(Event).decode
_encode = msgspec.msgpack.Encoder().encode


def encode_prediction(event_id: int, scores: bytes) -> bytes:
    """Return the MessagePack answer to one event."""
    return _encode({"id": event_id, "outputs": {"y": scores}})


class Model:
    """Run the benchmark's model in the calling thread, without a thread pool of ONNX Runtime's own."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(self, rows: bytes) -> bytes:
        """Return float32[N, 8] for float32[N, 64], both as little-endian bytes."""
        batch = np.frombuffer(rows, "<f4").reshape(-1, FEATURES)
        scores: bytes = self._session.run(None, {"x": batch})[0].tobytes()
        return scores
