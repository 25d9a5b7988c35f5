"""LSTM, GRU and RNN, unrolled over the steps of the sequence.

The builtin sequence operators keep their state from one inference to the next and differ
between runtimes; unrolled, the same file gives the same answer everywhere. The products
with the input are one FULLY_CONNECTED for all steps; each step has one more for the state.

Source of the equations: ONNX operators LSTM, GRU and RNN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from converters.arrays import Floats, as_floats, as_ints
from converters.attributes import AttributeReader
from converters.graph import Node
from converters.tflite.compose import binary, output, require_types, reshape, unary, whole
from converters.tflite.layout import Perm, Value, identity
from converters.tflite.lowering import SUGGESTION, Lowering
from converters.tflite.ops_layers import store_weights
from converters.tflite.schema import Option

MAX_STEPS: Final = 256
"""A longer sequence would make a file of thousands of operators."""

_ACTIVATIONS: Final = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
_GATES: Final = {"LSTM": 4, "GRU": 3, "RNN": 1}
_INITIAL_H, _INITIAL_C, _PEEPHOLES = 5, 6, 7


@dataclass(frozen=True, slots=True)
class _Cell:
    """One direction of a recurrent layer.

    Attributes:
        weights: Of the input, ``(gates * hidden, inputs)``.
        recurrent: Of the state, ``(gates * hidden, hidden)``.
        input_bias: ``(gates * hidden,)``, added to the products with the input.
        state_bias: The same, added to the products with the state.
    """

    weights: Floats
    recurrent: Floats
    input_bias: Floats
    state_bias: Floats

    @property
    def hidden(self) -> int:
        """Return the number of units."""
        return int(self.recurrent.shape[1])


@dataclass(frozen=True, slots=True)
class _State:
    """What one step hands to the next, each ``(batch, hidden)``; ``None`` is zero."""

    hidden: Value | None = None
    memory: Value | None = None


_Step: TypeAlias = Callable[[Value, _State], _State]


def lower_recurrent(lowering: Lowering, node: Node) -> None:
    """Write LSTM, GRU and RNN with constant weights and default activations.

    Forward, backward or both; states start at zero or are inputs; up to 256 steps. Peephole
    weights, clipping, coupled gates and sequences of different lengths are refused.
    """
    require_types(lowering, replace(node, inputs=(*node.inputs[:4], *node.inputs[5:])))
    directions, batch_first, before_reset = _options(lowering, node)
    time_major: Perm = (1, 0, 2) if batch_first else (0, 1, 2)
    source = lowering.read(node, 0, time_major)
    steps, batch, inputs = source.stored_shape
    if steps > MAX_STEPS:
        raise node.refuse(f"{steps} steps are more than {MAX_STEPS}", "feed shorter sequences")
    _check_lengths(lowering, node, steps)
    source = reshape(lowering, source, (steps * batch, inputs))
    rows: list[Value] = []
    last: list[_State] = []
    for direction, backward in enumerate(directions):
        cell = _cell(lowering, node, direction)
        start = _start(lowering, node, direction, time_major)
        step = _step(lowering, node, cell, before_reset=before_reset)
        parts = _projected(lowering, node, cell, source, (steps, batch))
        states = _unroll(step, parts[::-1] if backward else parts, start)
        last.append(states[-1])
        rows.append(_packed(lowering, states[::-1] if backward else states))
    _write_sequence(lowering, node, rows, batch_first=batch_first)
    _write_states(lowering, node, 1, [state.hidden for state in last], time_major)
    _write_states(lowering, node, 2, [state.memory for state in last], time_major)


def _options(lowering: Lowering, node: Node) -> tuple[tuple[bool, ...], bool, bool]:
    """Return for each direction whether it runs backward; batch first; reset after product."""
    with AttributeReader(node) as attributes:
        direction = attributes.text("direction", "forward")
        found = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
        if direction not in found:
            raise node.refuse(f"direction {direction!r} is not supported")
        directions = found[direction]
        attributes.only("activations", _ACTIVATIONS[node.op] * len(directions))
        attributes.only("input_forget", 0)
        attributes.ignore("hidden_size")  # the weights say it
        batch_first = attributes.integer("layout", 0) == 1
        before_reset = attributes.integer("linear_before_reset", 0) == 1
    if node.optional_input(_PEEPHOLES):
        raise node.refuse("peephole weights are not supported", SUGGESTION)
    if lowering.constant(node, 1).shape[0] != len(directions):
        raise node.refuse("its weights do not fit its direction", "the model is damaged")
    return directions, batch_first, before_reset


def _check_lengths(lowering: Lowering, node: Node, steps: int) -> None:
    if not node.optional_input(4):
        return
    if any(length != steps for length in as_ints(lowering.constant(node, 4))):
        raise node.refuse("sequences of different lengths are not supported", SUGGESTION)


def _cell(lowering: Lowering, node: Node, direction: int) -> _Cell:
    weights, recurrent = (as_floats(lowering.constant(node, index)[direction]) for index in (1, 2))
    rows = weights.shape[0]
    if node.optional_input(3):
        both = as_floats(lowering.constant(node, 3)[direction])
    else:
        both = np.zeros(2 * rows, np.float32)
    if recurrent.shape != (rows, rows // _GATES[node.op]) or both.shape != (2 * rows,):
        raise node.refuse("its weights do not fit each other", "the model is damaged")
    return _Cell(weights, recurrent, both[:rows], both[rows:])


def _start(lowering: Lowering, node: Node, direction: int, perm: Perm) -> _State:
    found: list[Value | None] = []
    for index in (_INITIAL_H, _INITIAL_C):
        if not node.optional_input(index):
            found.append(None)
            continue
        states = lowering.read(node, index, perm)
        _, batch, hidden = states.stored_shape
        part = lowering.temporary((1, batch, hidden), identity(3))
        bounds = [whole(lowering, "bound", n) for n in ([direction, 0, 0], [1, batch, hidden])]
        lowering.emit("SLICE", [states.tensor, *bounds], part, ("SliceOptions", {}))
        found.append(reshape(lowering, part, (batch, hidden)))
    return _State(hidden=found[0], memory=found[1])


def _dense(
    lowering: Lowering, node: Node, source: Value, weights: Floats, bias: Floats, *, index: int
) -> Value:
    """Return ``source @ weights.T + bias``; input ``index`` of the node holds the weights."""
    layer = replace(node, inputs=(node.inputs[0], node.inputs[index]))
    stored = store_weights(lowering, layer, weights, 0)
    result = lowering.temporary((source.shape[0], weights.shape[0]), identity(2))
    offset = lowering.raw_constant("bias", bias)
    fields: dict[str, Option] = {"fusedActivationFunction": "NONE", "keepNumDims": False}
    inputs = [source.tensor, stored, offset]
    lowering.emit("FULLY_CONNECTED", inputs, result, ("FullyConnectedOptions", fields))
    return result


def _projected(
    lowering: Lowering, node: Node, cell: _Cell, source: Value, size: tuple[int, int]
) -> list[Value]:
    """Return the products with the input, ``(batch, gates * hidden)`` for every step."""
    steps, batch = size
    bias = cell.input_bias
    if node.op != "GRU":
        bias = bias + cell.state_bias
    flat = _dense(lowering, node, source, cell.weights, bias, index=1)
    rows = flat.shape[1]
    whole_sequence = reshape(lowering, flat, (steps, batch, rows))
    parts = [lowering.temporary((batch, rows), identity(2)) for _ in range(steps)]
    lowering.emit(
        "UNPACK", [whole_sequence.tensor], parts, ("UnpackOptions", {"num": steps, "axis": 0})
    )
    return parts


def _unroll(step: _Step, parts: Sequence[Value], start: _State) -> list[_State]:
    states: list[_State] = []
    state = start
    for part in parts:
        state = step(part, state)
        states.append(state)
    return states


def _step(lowering: Lowering, node: Node, cell: _Cell, *, before_reset: bool) -> _Step:
    def with_state(part: Value, state: Value | None) -> Value:
        if state is None:
            return part
        zeros = np.zeros(cell.recurrent.shape[0], np.float32)
        product = _dense(lowering, node, state, cell.recurrent, zeros, index=2)
        return binary(lowering, "ADD", part, product)

    def rnn(part: Value, state: _State) -> _State:
        return _State(unary(lowering, "TANH", with_state(part, state.hidden)))

    def lstm(part: Value, state: _State) -> _State:
        gates = _split(lowering, with_state(part, state.hidden), 4)
        enter, leave, forget = (unary(lowering, "LOGISTIC", gate) for gate in gates[:3])
        memory = binary(lowering, "MUL", enter, unary(lowering, "TANH", gates[3]))
        if state.memory is not None:
            kept = binary(lowering, "MUL", forget, state.memory)
            memory = binary(lowering, "ADD", kept, memory)
        hidden = binary(lowering, "MUL", leave, unary(lowering, "TANH", memory))
        return _State(hidden, memory)

    def gru(part: Value, state: _State) -> _State:
        return _State(
            _gru_step(lowering, node, cell, (part, state.hidden), before_reset=before_reset)
        )

    return {"RNN": rnn, "LSTM": lstm, "GRU": gru}[node.op]


def _gru_step(
    lowering: Lowering,
    node: Node,
    cell: _Cell,
    inputs: tuple[Value, Value | None],
    *,
    before_reset: bool,
) -> Value:
    part, state = inputs
    update_x, reset_x, new_x = _split(lowering, part, 3)
    cut = 2 * cell.hidden
    gate_bias, new_bias = cell.state_bias[:cut], cell.state_bias[cut:]
    if state is None:
        # With a state of zero only the biases are left of the products.
        update = _gate(lowering, update_x, gate_bias[: cell.hidden])
        offset: Value | Floats = new_bias
        if before_reset:
            reset = _gate(lowering, reset_x, gate_bias[cell.hidden :])
            offset = binary(lowering, "MUL", reset, new_bias[None])
        else:
            offset = new_bias[None]
        new = unary(lowering, "TANH", binary(lowering, "ADD", new_x, offset))
        return binary(lowering, "SUB", new, binary(lowering, "MUL", update, new))
    gates = _dense(lowering, node, state, cell.recurrent[:cut], gate_bias, index=2)
    update_h, reset_h = _split(lowering, gates, 2)
    update = unary(lowering, "LOGISTIC", binary(lowering, "ADD", update_x, update_h))
    reset = unary(lowering, "LOGISTIC", binary(lowering, "ADD", reset_x, reset_h))
    if before_reset:
        product = _dense(lowering, node, state, cell.recurrent[cut:], new_bias, index=2)
        product = binary(lowering, "MUL", reset, product)
    else:
        held = binary(lowering, "MUL", reset, state)
        product = _dense(lowering, node, held, cell.recurrent[cut:], new_bias, index=2)
    new = unary(lowering, "TANH", binary(lowering, "ADD", new_x, product))
    difference = binary(lowering, "SUB", state, new)
    return binary(lowering, "ADD", new, binary(lowering, "MUL", update, difference))


def _gate(lowering: Lowering, part: Value, bias: Floats) -> Value:
    return unary(lowering, "LOGISTIC", binary(lowering, "ADD", part, bias[None]))


def _split(lowering: Lowering, source: Value, count: int) -> list[Value]:
    """Return ``count`` equal parts of ``(batch, count * n)``."""
    batch, rows = source.shape
    parts = [lowering.temporary((batch, rows // count), identity(2)) for _ in range(count)]
    axis = whole(lowering, "axis", np.asarray(1))
    lowering.emit("SPLIT", [axis, source.tensor], parts, ("SplitOptions", {"numSplits": count}))
    return parts


def _packed(lowering: Lowering, states: Sequence[_State]) -> Value:
    """Return the states of all steps as ``(steps, 1, batch, hidden)``."""
    values = [state.hidden for state in states if state.hidden is not None]
    batch, hidden = values[0].shape
    packed = lowering.temporary((len(values), batch, hidden), identity(3))
    options = ("PackOptions", {"valuesCount": len(values), "axis": 0})
    lowering.emit("PACK", [value.tensor for value in values], packed, options)
    return reshape(lowering, packed, (len(values), 1, batch, hidden))


def _write_sequence(
    lowering: Lowering, node: Node, rows: Sequence[Value], *, batch_first: bool
) -> None:
    if not node.outputs[0]:
        return
    # ONNX's Y is (steps, directions, batch, hidden), or (batch, steps, directions, hidden).
    result = output(lowering, node, (1, 2, 0, 3) if batch_first else identity(4))
    _joined(lowering, rows, result, 1)


def _write_states(
    lowering: Lowering, node: Node, index: int, states: Sequence[Value | None], perm: Perm
) -> None:
    if len(node.outputs) <= index or not node.outputs[index]:
        return
    found = [state for state in states if state is not None]
    rows = [reshape(lowering, state, (1, *state.shape)) for state in found]
    _joined(lowering, rows, output(lowering, node, perm, index), 0)


def _joined(lowering: Lowering, rows: Sequence[Value], result: Value, axis: int) -> None:
    if len(rows) == 1:
        lowering.emit_reshape(rows[0], result)
        return
    fields: dict[str, Option] = {"axis": axis, "fusedActivationFunction": "NONE"}
    inputs = [row.tensor for row in rows]
    lowering.emit("CONCATENATION", inputs, result, ("ConcatenationOptions", fields))
