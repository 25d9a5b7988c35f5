"""UNIDIRECTIONAL_SEQUENCE_LSTM as ONNX's LSTM, from a state of zeros."""

from typing import Final

import numpy as np

from converters.arrays import Array
from converters.importing.tflite.build import Builder
from converters.importing.tflite.file import FileOperator
from converters.tflite.layout import identity

_INPUT_WEIGHTS: Final = (1, 4, 2, 3)
_STATE_WEIGHTS: Final = (5, 8, 6, 7)
_BIASES: Final = (12, 15, 13, 14)
"""Input, output, forget, cell: ONNX's order; TFLite's is input, forget, cell, output."""

_OPTIONAL: Final = {9: "peepholes", 10: "peepholes", 11: "peepholes", 16: "a projection"}
_NORMS: Final = (20, 21, 22, 23)
_TANH: Final = 4
_SEQUENCE: Final = 3


def lstm(build: Builder, operator: FileOperator) -> None:
    """A plain LSTM: every gate has weights, no peepholes, projection or normalization."""
    for index, what in _OPTIONAL.items():
        if build.has(operator, index):
            raise operator.refuse(f"{what} are not supported")
    if any(build.has(operator, index) for index in _NORMS):
        raise operator.refuse("layer normalization inside it is not supported")
    if not build.has(operator, _INPUT_WEIGHTS[0]):
        raise operator.refuse("coupled input and forget gates are not supported")
    if operator.options["fused_activation_function"] != _TANH:
        raise operator.refuse("only tanh is supported as its activation")
    shape = build.tensor(operator, 0).shape
    if len(shape) != _SEQUENCE:
        raise operator.refuse(f"its input is {list(shape)}, expected 3 axes")
    weights = _stacked(build, operator, _INPUT_WEIGHTS)
    states = _stacked(build, operator, _STATE_WEIGHTS)
    biases = _stacked(build, operator, _BIASES)
    hidden = states.shape[-1]
    if states.shape[0] != 4 * hidden or biases.shape != (4 * hidden,):
        raise operator.refuse(f"its weights {states.shape} do not fit each other")
    clip = float(operator.options["cell_clip"])
    if clip > 0:
        build.notes.append(
            f"{operator.code} bounds its cell to {clip:g}, the imported one does not: "
            "equal while the cell stays within"
        )
    time_major = bool(operator.options["time_major"])
    order = identity(_SEQUENCE) if time_major else (1, 0, 2)
    source = build.read(operator, 0, order)
    zeros = np.zeros_like(biases)
    made = build.emit(
        "LSTM",
        [
            source.name,
            build.add_constant("lstm_weights", weights[None]),
            build.add_constant("lstm_states", states[None]),
            build.add_constant("lstm_biases", np.concatenate([biases, zeros])[None]),
        ],
        {"hidden_size": hidden},
    )[0]
    flat = build.emit("Squeeze", [made, build.ints("axes", (1,))])[0]
    build.write(operator, flat, order)


def _stacked(build: Builder, operator: FileOperator, indices: tuple[int, ...]) -> Array:
    parts = [build.constant(operator, index) for index in indices]
    if len({part.shape for part in parts}) != 1 or parts[0].dtype != np.float32:
        raise operator.refuse("the weights of its gates differ in shape")
    return np.concatenate(parts)
