"""State of one import: TFLite tensors as ONNX values, each with the layout it is stored in.

As in lowering, layout is data: a value keeps the permutation "stored axis i is TFLite's axis
``perm[i]``". Handlers ask for the layout that their operator needs, and a Transpose appears
only where a value has another one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.graph import Attribute, Graph, Node, TensorType
from converters.importing.tflite.file import LEFT_OUT, FileGraph, FileOperator, FileTensor
from converters.importing.tflite.weights import real_values
from converters.onnx_format import TARGET_OPSET
from converters.tflite.layout import Perm, identity, is_same_order

CHANNELS_FIRST: Final[Perm] = (0, 3, 1, 2)
"""ONNX's image layout: stored axis -> axis of TFLite's NHWC."""

_FUSED: Final[Mapping[int, str]] = {
    1: "RELU",
    2: "RELU_N1_TO_1",
    3: "RELU6",
    4: "TANH",
}
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
}
_RECURRENT: Final = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM"})
_SIMPLE: Final[Mapping[str, str]] = {"RELU": "Relu", "TANH": "Tanh"}


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor in the graph being made.

    Attributes:
        name: In the ONNX graph.
        shape: In TFLite's order.
        perm: Stored axis -> TFLite's axis.
    """

    name: str
    shape: tuple[int, ...]
    perm: Perm

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Return the shape that the ONNX tensor has."""
        return tuple(self.shape[axis] for axis in self.perm)

    def stored_axis(self, axis: int) -> int:
        """Return where TFLite's axis ``axis`` (negative counts from the end) is stored."""
        return self.perm.index(axis % len(self.shape))


class Builder:
    """An ONNX graph in the making; handlers use the public methods only."""

    def __init__(self, graph: FileGraph) -> None:
        self.graph = graph
        self.notes: list[str] = []
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}
        self._values: dict[int, Value] = {}
        self._views: dict[tuple[int, Perm], Value] = {}
        self._taken: dict[str, int] = {}
        self._renamed: dict[str, str] = {}
        self._inputs = [self._add_input(index) for index in graph.inputs]

    # -- the file's tensors ------------------------------------------------------------

    def tensor(self, operator: FileOperator, index: int) -> FileTensor:
        """Return input ``index`` as the file describes it; refuses one that is left out."""
        place = self._place(operator, index)
        if place == LEFT_OUT:
            raise operator.refuse(f"input {index} is missing")
        return self.graph.tensors[place]

    def target(self, operator: FileOperator, index: int = 0) -> FileTensor:
        """Return output ``index`` as the file describes it."""
        if index >= len(operator.outputs):
            raise operator.refuse(f"output {index} is missing")
        return self.graph.tensors[operator.outputs[index]]

    def has(self, operator: FileOperator, index: int) -> bool:
        """Whether input ``index`` is given."""
        return self._place(operator, index) != LEFT_OUT

    @staticmethod
    def _place(operator: FileOperator, index: int) -> int:
        return operator.inputs[index] if index < len(operator.inputs) else LEFT_OUT

    def is_constant(self, operator: FileOperator, index: int) -> bool:
        """Whether input ``index`` is known at conversion time."""
        place = self._place(operator, index)
        return place not in self._values and self.tensor(operator, index).data is not None

    def constant(self, operator: FileOperator, index: int) -> Array:
        """Return the constant input ``index`` in real numbers, or refuse the operator."""
        tensor = self.tensor(operator, index)
        if not self.is_constant(operator, index):
            raise operator.refuse(f"input {index} ({tensor.name}) must be a constant")
        value = real_values(tensor)
        if value is None:
            raise operator.refuse(f"constant {tensor.name} has the type {tensor.kind}")
        return value

    # -- reading -----------------------------------------------------------------------

    def read(self, operator: FileOperator, index: int = 0, perm: Perm | None = None) -> Value:
        """Return input ``index`` in layout ``perm`` (``None``: as it is stored).

        Raises:
            UnsupportedModelError: It has another rank than ``perm``.
        """
        tensor = self.tensor(operator, index)
        if perm is not None and len(perm) != len(tensor.shape):
            raise operator.refuse(
                f"its input {tensor.name} is {list(tensor.shape)}, not of rank {len(perm)}"
            )
        place = operator.inputs[index]
        if place not in self._values:
            array = self.constant(operator, index)
            order = perm or identity(array.ndim)
            key = (place, order)
            if key not in self._views:
                name = self.add_constant(tensor.name, array.transpose(order))
                self._views[key] = Value(name, array.shape, order)
            return self._views[key]
        return self._view(place, perm)

    def _view(self, place: int, perm: Perm | None) -> Value:
        value = self._values[place]
        if perm is None or perm == value.perm:
            return value
        key = (place, perm)
        if key not in self._views:
            self._views[key] = self.reorder(value, perm)
        return self._views[key]

    def reorder(self, value: Value, perm: Perm) -> Value:
        """Return ``value`` in layout ``perm``.

        Always by Transpose, also where a Reshape would do: lowering knows it as a layout.
        """
        if perm == value.perm:
            return value
        order = tuple(value.perm.index(axis) for axis in perm)
        return Value(self.emit("Transpose", [value.name], {"perm": order})[0], value.shape, perm)

    def read_flat(self, operator: FileOperator, index: int = 0) -> Value:
        """Return input ``index`` with its elements in TFLite's order, moving none if they are."""
        value = self.read(operator, index)
        order = identity(len(value.shape))
        return (
            value if is_same_order(value.shape, value.perm, order) else self.reorder(value, order)
        )

    # -- writing -----------------------------------------------------------------------

    def fresh(self, wish: str) -> str:
        """Return a tensor name that nothing has yet."""
        base = wish or "value"
        name = base
        while name in self._taken:
            self._taken[base] += 1
            name = f"{base}_{self._taken[base]}"
        self._taken[name] = 1
        return name

    def add_constant(self, wish: str, array: Array) -> str:
        """Store ``array`` just as it is and return its name."""
        name = self.fresh(wish)
        self._constants[name] = np.ascontiguousarray(array).reshape(array.shape)
        return name

    def ints(self, wish: str, values: Sequence[int]) -> str:
        """Store ``values`` as ONNX wants shapes and axes, in int64."""
        return self.add_constant(wish, np.asarray(values, np.int64))

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        outputs: int = 1,
    ) -> list[str]:
        """Add a node and return the names of its outputs."""
        label = f"{op.lower()}_{len(self._nodes)}"
        names = tuple(self.fresh(f"{label}_out") for _ in range(outputs))
        self._nodes.append(
            Node(
                name=label,
                op=op,
                inputs=tuple(inputs),
                outputs=names,
                attributes=dict(attributes or {}),
            )
        )
        return list(names)

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """Return the same elements under ``shape``."""
        return self.emit("Reshape", [name, self.ints("shape", shape)])[0]

    def activate(self, operator: FileOperator, code: str, name: str) -> str:
        """Return ``name`` after the activation that TFLite calls ``code``."""
        if code in _SIMPLE:
            return self.emit(_SIMPLE[code], [name])[0]
        if code not in _BOUNDS:
            raise operator.refuse(f"activation {code} is not supported")
        low, high = (
            self.add_constant(label, np.asarray(bound, np.float32))
            for label, bound in zip(("low", "high"), _BOUNDS[code], strict=True)
        )
        return self.emit("Clip", [name, low, high])[0]

    def write(self, operator: FileOperator, name: str, perm: Perm, index: int = 0) -> None:
        """Let output ``index`` be tensor ``name``, stored in ``perm``, after a fused activation.

        A recurrent operator's activation acts inside it, not behind it.
        """
        target = self.target(operator, index)
        fused = int(operator.options.get("fused_activation_function", 0))
        if fused and operator.code not in _RECURRENT:
            if fused not in _FUSED:
                raise operator.refuse(f"fused activation {fused} is not known")
            name = self.activate(operator, _FUSED[fused], name)
        if len(perm) != len(target.shape):
            raise operator.refuse(
                f"its output {target.name} is {list(target.shape)}, not of rank {len(perm)}"
            )
        self._values[operator.outputs[index]] = Value(name, target.shape, perm)

    # -- the whole ---------------------------------------------------------------------

    def _add_input(self, index: int) -> Value:
        tensor = self.graph.tensors[index]
        value = Value(self.fresh(tensor.name), tensor.shape, identity(len(tensor.shape)))
        self._values[index] = value
        return value

    def finish(self) -> Graph:
        """Return the graph, with TFLite's inputs and outputs in TFLite's layout."""
        outputs = [self._finish_output(index) for index in self.graph.outputs]
        types: dict[str, TensorType] = {}
        for value, index in zip(self._inputs, self.graph.inputs, strict=True):
            dtype = self.graph.tensors[index].dtype
            if dtype is not None:
                types[value.name] = TensorType(dtype, value.shape)
        return Graph(
            name="main",
            inputs=tuple(value.name for value in self._inputs),
            outputs=tuple(outputs),
            nodes=tuple(self._nodes),
            constants=self._constants,
            types=types,
            opset=TARGET_OPSET,
        )

    def _finish_output(self, index: int) -> str:
        """Return the graph's name of output ``index``: TFLite's own, where it is free."""
        tensor = self.graph.tensors[index]
        if index in self._values:
            name = self._view(index, identity(len(tensor.shape))).name
        else:
            value = real_values(tensor)
            name = self.add_constant(tensor.name, value if value is not None else np.zeros(()))
        wanted = self.fresh(tensor.name)
        self._nodes.append(
            Node(
                name=f"output_{len(self._nodes)}", op="Identity", inputs=(name,), outputs=(wanted,)
            )
        )
        return wanted
