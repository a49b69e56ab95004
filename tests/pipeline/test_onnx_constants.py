"""A graph that gives strings is one to ONNX itself, and gives just those."""

import onnx
import onnxruntime as ort
from hypothesis import given
from hypothesis import strategies as st

from pipeline.onnx_constants import string_constant

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(st.lists(TEXTS, max_size=150), st.booleans(), st.text("abc", min_size=1, max_size=3))
def test_any_strings_in_any_shape(texts: list[str], is_column: bool, name: str) -> None:
    shape = (len(texts), 1) if is_column else (len(texts),)
    payload = string_constant(name, texts, shape)
    onnx.checker.check_model(payload, full_check=True)
    (output,) = onnx.load_from_string(payload).graph.output
    assert (output.name, [d.dim_value for d in output.type.tensor_type.shape.dim]) == (name, list(shape))
    (array,) = ort.InferenceSession(payload, providers=["CPUExecutionProvider"]).run(None, {})
    assert (array.shape, array.ravel().tolist()) == (shape, texts)


def test_a_scalar() -> None:
    payload = string_constant("s", ["only"], ())
    (array,) = ort.InferenceSession(payload, providers=["CPUExecutionProvider"]).run(None, {})
    assert (array.shape, array.item()) == ((), "only")
