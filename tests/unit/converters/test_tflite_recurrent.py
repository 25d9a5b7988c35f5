"""LSTM, GRU and RNN, unrolled: the same as ONNX Runtime, with weights that can shrink."""

import itertools

import onnx
import onnx.helper
import pytest

from converters.arrays import Array, Feeds
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.run import LiteRtModel
from edgeops.errors import UnsupportedModelError
from tests.unit.converters.nets import floats, net

STEPS, BATCH, INPUTS, HIDDEN = 6, 2, 5, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent_net(
    op: str, direction: str, *, states: bool, steps: int = STEPS, **attributes: object
) -> bytes:
    """Return one layer that gives its sequence and last states, and may be given states."""
    count = 2 if direction == "bidirectional" else 1
    rows = GATES[op] * HIDDEN
    constants: dict[str, Array] = {
        "w": floats(1, count, rows, INPUTS, scale=0.5),
        "r": floats(2, count, rows, HIDDEN, scale=0.5),
        "b": floats(3, count, 2 * rows, scale=0.3),
    }
    inputs: dict[str, list[int | str]] = {"x": [steps, BATCH, INPUTS]}
    names = ["x", "w", "r", "b"]
    outputs = ["y", "h", "c"] if op == "LSTM" else ["y", "h"]
    if states:
        given = ["h0", "c0"] if op == "LSTM" else ["h0"]
        names += ["", *given]
        inputs |= {name: [count, BATCH, HIDDEN] for name in given}
    layer = onnx.helper.make_node(
        op, names, outputs, direction=direction, hidden_size=HIDDEN, **attributes
    )
    shapes: dict[str, list[int | str]] = {"y": ["t", "d", "n", "u"]}
    shapes |= {name: ["e", "f", "g"] for name in outputs[1:]}
    return net([layer], inputs=inputs, outputs=shapes, constants=constants)


CASES = list(
    itertools.product(sorted(GATES), ["forward", "reverse", "bidirectional"], [True, False])
)


@pytest.mark.parametrize(("op", "direction", "states"), CASES)
def test_recurrent_layers_agree_with_onnx_runtime(op: str, direction: str, states: bool) -> None:
    settings = [{}] if op != "GRU" else [{"linear_before_reset": n} for n in (0, 1)]
    for attributes in settings:
        data = recurrent_net(op, direction, states=states, **attributes)
        graph = import_model(data)
        sample: Feeds = {name: floats(9, *graph.shape(name)) for name in graph.inputs}

        found = LiteRtModel(lower_to_tflite(graph)).run(sample)

        for name, value in OrtModel(serialize(graph)).run(sample).items():
            assert found[name] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("weights", ["float16", "dynamic-int8"])
def test_recurrent_weights_can_shrink(weights: str) -> None:
    graph = import_model(recurrent_net("LSTM", "forward", states=False))
    form = "float16" if weights == "float16" else "dynamic-int8"
    sample: Feeds = {"x": floats(9, STEPS, BATCH, INPUTS)}

    found = LiteRtModel(lower_to_tflite(graph, weights=form)).run(sample)  # type: ignore[arg-type] # one of the literals

    expected = OrtModel(serialize(graph)).run(sample)
    assert found["y"] == pytest.approx(expected["y"], abs=0.05)


@pytest.mark.parametrize(
    ("attributes", "steps", "reason"),
    [
        ({"clip": 1.0}, STEPS, "clip"),
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, STEPS, "activations"),
        ({"input_forget": 1}, STEPS, "input_forget"),
        ({}, 300, "300 steps"),
    ],
)
def test_other_recurrent_layers_are_refused(
    attributes: dict[str, object], steps: int, reason: str
) -> None:
    graph = import_model(recurrent_net("LSTM", "forward", states=False, steps=steps, **attributes))

    with pytest.raises(UnsupportedModelError, match=reason):
        lower_to_tflite(graph)
