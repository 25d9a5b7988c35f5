"""Drive the lowering: one handler per ONNX operator writes TFLite operators.

The same handlers write float and int8 files. What differs is where a value is stored:
``Lowering.read`` and ``Lowering.write`` consult the quantization plan, so a handler asks
for "input 0 in NHWC" and gets it in float or on its grid as the plan says.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from converters.arrays import Array
from converters.graph import Graph, Node
from converters.quant.operators import INTEGER_FORMS, clip_bounds
from converters.quant.plan import Grid, QuantPlan, unsigned
from converters.quant.planner import fused_activations
from converters.tflite.flattening import flattened_images
from converters.tflite.layout import IMAGE_RANK, NHWC, Perm, Value, identity, is_same_order
from converters.tflite.schema import FlatModel, Option
from converters.tflite.versions import KernelType, lowest_version
from edgeops.contracts.scalars import Layout
from edgeops.errors import UnsupportedModelError

FLOAT32: Final[np.dtype[np.generic]] = np.dtype(np.float32)
INT8: Final[np.dtype[np.generic]] = np.dtype(np.int8)
INT16: Final[np.dtype[np.generic]] = np.dtype(np.int16)
_STORABLE: Final = tuple(np.dtype(kind) for kind in (np.float32, np.int32, np.int64, np.bool_))

WeightForm = Literal["float32", "float16", "dynamic-int8"]
"""How weights of float layers are stored: plain, in half the bytes, or in int8 with
activations quantized per inference (hybrid kernels)."""

EdgeType = Literal["float32", "int8", "uint8"]
"""Element type of the file's inputs and outputs where the plan gives them a grid."""

_FUSED_NAMES: Final = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}

SUGGESTION: Final = "the ONNX variant does not need it; or export the model with other operators"


@dataclass(frozen=True, slots=True)
class TfliteModel:
    """A lowered model.

    Attributes:
        data: The ``.tflite`` file.
        input_layouts: By input name; images are ``nhwc`` whatever ONNX had, others ``none``.
        input_shapes: As stored in the file.
        operators: How often each TFLite operator occurs.
        hybrid_layers: Names of the layers with int8 weights and float activations.
    """

    data: bytes
    input_layouts: Mapping[str, Layout]
    input_shapes: Mapping[str, tuple[int, ...]]
    operators: Mapping[str, int]
    hybrid_layers: frozenset[str]


class Lowering:
    """State of one lowering; handlers use its public methods only."""

    def __init__(
        self,
        graph: Graph,
        plan: QuantPlan | None,
        *,
        weights: WeightForm = "float32",
        image_layout: Layout = "nchw",
        io: EdgeType = "float32",
    ) -> None:
        self._io = io
        self.graph = graph
        self.weights = weights
        self._image_layout = image_layout
        self._plan = plan
        self._model = FlatModel()
        self._values: dict[str, Value] = {}
        self._views: dict[tuple[object, ...], Value] = {}
        self._fused = fused_activations(graph)
        self._by_name = {node.name: node for node in graph.nodes}
        self._flattened = flattened_images(graph)
        self._done: set[str] = {node.name for node in self._flattened.values()}
        self._hybrid: set[str] = set()
        self._returned: set[int] = set()

    # -- what the plan says ------------------------------------------------------------

    def is_integer(self, node: Node) -> bool:
        """Whether ``node`` computes in int8."""
        return self._plan is not None and node.name in self._plan.quantized

    def grid(self, tensor: str) -> Grid:
        """Return the grid of a tensor of an integer node."""
        if self._plan is None or tensor not in self._plan.tensors:
            raise UnsupportedModelError(
                node=tensor, operator="tensor", reason="the quantization plan gives it no grid"
            )
        return self._plan.tensors[tensor]

    # -- reading -----------------------------------------------------------------------

    def constant(self, node: Node, index: int) -> Array:
        """Return the constant input ``index`` of ``node``, or refuse the node."""
        name = node.optional_input(index)
        if name not in self.graph.constants:
            raise node.refuse(f"input {index} must be a constant", SUGGESTION)
        return self.graph.constants[name]

    def layout_of(self, tensor: str) -> Perm:
        """Return the layout that ``tensor`` is stored in now; constants adapt to any."""
        value = self._values.get(tensor)
        return value.perm if value is not None else identity(len(self.graph.shape(tensor)))

    def is_constant(self, tensor: str) -> bool:
        """Whether ``tensor`` is known at conversion time."""
        return tensor in self.graph.constants

    def read(self, node: Node, index: int = 0, perm: Perm | None = None) -> Value:
        """Return input ``index`` of ``node`` in layout ``perm`` (``None``: as it is stored).

        In an integer node the value lies on the plan's grid, else it is float.
        """
        name = node.inputs[index]
        return self._view(name, perm, self.operand_grid(node, name))

    def operand_grid(self, node: Node, name: str) -> Grid | None:
        """Return the grid on which ``node`` reads its input ``name``; ``None`` for float."""
        if not self.is_integer(node):
            return None
        # Kernels that compare or join stored numbers need all of them on one grid.
        joined = INTEGER_FORMS[node.op].rule == "joined"
        return self.grid(node.outputs[0] if joined else name)

    def read_on(self, node: Node, index: int, perm: Perm | None, grid: Grid | None) -> Value:
        """Return input ``index`` on a grid other than its own (Concat), or in float."""
        return self._view(node.inputs[index], perm, grid)

    def read_flat(self, node: Node, index: int = 0) -> Value:
        """Return input ``index`` with its bytes in ONNX's order, moving none if they are."""
        value = self.read(node, index)
        order = identity(len(value.shape))
        if is_same_order(value.shape, value.perm, order):
            return value
        return self.read(node, index, order)

    def read_unflattened(self, node: Node) -> Value | None:
        """Return the image that was flattened for ``node`` alone, batch axis first.

        ``None`` where input 0 of ``node`` is no such thing. Its columns are in the stored
        order, see ``flattening``.
        """
        before = self._flattened.get(node.name)
        if before is None:
            return None
        name = before.inputs[0]
        perm = self.layout_of(name)
        order = perm if perm[0] == 0 else identity(len(perm))
        return self._view(name, order, self.operand_grid(node, node.inputs[0]))

    def _view(self, name: str, perm: Perm | None, grid: Grid | None) -> Value:
        if name in self.graph.constants:
            return self._constant_value(name, perm, grid)
        value = self._values[name]
        if perm is not None and perm != value.perm:
            value = self._moved(value, perm)
        if value.grid == grid:
            return value
        # A tensor may stand for several values, each with axes of its own (Transpose).
        found = self._cached(("grid", value.tensor, grid), lambda: self._regrid(value, grid))
        return replace(found, shape=value.shape, perm=value.perm)

    def _moved(self, value: Value, perm: Perm) -> Value:
        order = tuple(value.perm.index(axis) for axis in perm)
        found = self._cached(("order", value.tensor, order), lambda: self._reorder(value, perm))
        return replace(found, shape=value.shape, perm=perm)

    def _cached(self, key: tuple[object, ...], make: Callable[[], Value]) -> Value:
        if key not in self._views:
            self._views[key] = make()
        return self._views[key]

    def _constant_value(self, name: str, perm: Perm | None, grid: Grid | None) -> Value:
        array = self.graph.constants[name]
        order = perm or identity(array.ndim)
        return self.add_constant(name, array, order, grid)

    def add_constant(self, name: str, array: Array, perm: Perm, grid: Grid | None = None) -> Value:
        """Store ``array``, given in ONNX's order, in layout ``perm`` (and on ``grid``)."""
        self._check_dtype(name, array.dtype)
        stored = grid.quantize(array) if grid is not None else array
        tensor = self._model.constant(name, stored.transpose(perm), grid)
        return Value(tensor=tensor, shape=array.shape, perm=perm, dtype=array.dtype, grid=grid)

    def raw_constant(self, name: str, array: Array, grid: Grid | None = None) -> int:
        """Store ``array`` just as it is and return its index (weights, pads, shapes)."""
        return self._model.constant(name, array, grid)

    def hybrid_constant(self, node: Node, array: Array, grid: Grid) -> int:
        """Store the weights of a float layer in int8; its kernel quantizes the input."""
        self._hybrid.add(node.name)
        return self._model.constant(node.inputs[1], grid.quantize(array), grid)

    def halves(self, weights: Array) -> bool:
        """Whether weights of a float layer in an integer file lose nothing in float16.

        Microcontrollers have no kernel that reads such weights.
        """
        if self._plan is None or self._io != "float32":
            return False
        with np.errstate(over="ignore"):
            return bool(np.array_equal(weights.astype(np.float16), weights))

    def half_constant(self, name: str, array: Array) -> int:
        """Store ``array`` in float16 and return the index of its float32 form."""
        if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
            raise UnsupportedModelError(
                node=name, operator="weights", reason="values are too large for float16"
            )
        half = self._model.constant(name, array.astype(np.float16))

        def full() -> Value:
            result = self.temporary(array.shape, identity(array.ndim))
            self.emit("DEQUANTIZE", [half], result, ("DequantizeOptions", {}), version=3)
            return result

        return self._cached(("half", half), full).tensor

    def _check_dtype(self, name: str, dtype: np.dtype[np.generic]) -> None:
        if dtype not in _STORABLE:
            raise UnsupportedModelError(
                node=name,
                operator="tensor",
                reason=f"element type {dtype} is not supported",
                suggestion="export the model in float32",
            )

    def _require_elements(self, name: str, shape: tuple[int, ...]) -> None:
        if 0 in shape:
            raise UnsupportedModelError(
                node=name, operator="tensor", reason="it is empty", suggestion=SUGGESTION
            )

    def _reorder(self, value: Value, perm: Perm) -> Value:
        result = self.temporary(value.shape, perm, value.dtype, value.grid)
        if is_same_order(value.shape, value.perm, perm):
            self.emit_reshape(value, result)
        else:
            order = np.asarray([value.perm.index(axis) for axis in perm], np.int32)
            self.emit(
                "TRANSPOSE",
                [value.tensor, self.raw_constant("order", order)],
                result,
                ("TransposeOptions", {}),
            )
        return result

    def _regrid(self, value: Value, grid: Grid | None) -> Value:
        result = self.temporary(value.shape, value.perm, value.dtype, grid)
        wide = any(one is not None and one.dtype == "int16" for one in (value.grid, grid))
        if grid is None:
            version = 3 if wide else 2
            self.emit(
                "DEQUANTIZE", [value.tensor], result, ("DequantizeOptions", {}), version=version
            )
        else:
            version = 1 if value.grid is None and not wide else 2
            self.emit("QUANTIZE", [value.tensor], result, ("QuantizeOptions", {}), version=version)
        return result

    # -- writing -----------------------------------------------------------------------

    def temporary(
        self,
        shape: Sequence[int],
        perm: Perm,
        dtype: np.dtype[np.generic] = FLOAT32,
        grid: Grid | None = None,
    ) -> Value:
        """Return a new value that no ONNX name stands for."""
        self._check_dtype("tensor", dtype)
        shape = tuple(shape)
        stored = tuple(shape[axis] for axis in perm)
        tensor = self._model.tensor("", stored, _stored_dtype(dtype, grid), grid)
        return Value(tensor=tensor, shape=shape, perm=perm, dtype=dtype, grid=grid)

    def result(self, node: Node, perm: Perm, index: int = 0) -> tuple[Value, str]:
        """Return a new value for output ``index`` of ``node``, and the activation to fuse.

        Where runtimes compute the activation behind ``node`` inside its kernel, the value
        stands for that activation's output, and its node is done.
        """
        name = node.outputs[index]
        activation = "NONE"
        follower = self._by_name.get(self._fused.get(node.name, ""))
        if follower is not None and self.is_integer(follower) == self.is_integer(node):
            bounds = clip_bounds(self.graph, follower)
            if bounds in _FUSED_NAMES:
                activation = _FUSED_NAMES[bounds]
                name = follower.outputs[0]
                self._done.add(follower.name)
        return self.named(node, name, perm), activation

    def named(self, node: Node, name: str, perm: Perm) -> Value:
        """Return a new value for tensor ``name``, stored as the plan says for ``node``."""
        shape, dtype = self.graph.shape(name), self.graph.dtype(name)
        self._check_dtype(name, dtype)
        if 0 in shape:
            raise node.refuse("its output is empty", SUGGESTION)
        grid = self.grid(name) if self.is_integer(node) else None
        stored = tuple(shape[axis] for axis in perm)
        tensor = self._model.tensor(name, stored, _stored_dtype(dtype, grid), grid)
        value = Value(tensor=tensor, shape=shape, perm=perm, dtype=dtype, grid=grid)
        self._values[name] = value
        return value

    def alias(self, name: str, value: Value) -> None:
        """Let tensor ``name`` be ``value``: nothing is computed."""
        self._values[name] = value

    def emit(
        self,
        code: str,
        inputs: Sequence[int],
        result: Value | Sequence[Value],
        options: tuple[str, Mapping[str, Option]] | None = None,
        *,
        version: int | None = None,
    ) -> None:
        """Add an operator; its version is the lowest legal one unless given."""
        results = [result] if isinstance(result, Value) else list(result)
        kinds = {value.grid.dtype for value in results if value.grid is not None}
        kind: KernelType = "int16" if "int16" in kinds else "int8" if kinds else "float"
        number = version if version is not None else lowest_version(code, kind)
        self._model.operator(code, number, inputs, [v.tensor for v in results], options)

    def emit_reshape(self, value: Value, result: Value) -> None:
        """Add a RESHAPE: the same bytes under another shape."""
        shape = np.asarray(result.stored_shape, np.int32)
        self.emit(
            "RESHAPE",
            [value.tensor, self.raw_constant("shape", shape)],
            result,
            ("ReshapeOptions", {"newShape": result.stored_shape}),
        )

    # -- the whole ---------------------------------------------------------------------

    def run(self, handlers: Mapping[str, "Handler"]) -> TfliteModel:
        """Lower every node and return the file.

        Raises:
            UnsupportedModelError: A node has no TFLite form; it names the node.
        """
        inputs = {name: self._add_input(name) for name in self.graph.inputs}
        for node in self.graph.nodes:
            self._lower(node, handlers)
        outputs = {name: self._add_output(name) for name in self.graph.outputs}
        data = self._model.finish({name: value.tensor for name, value in inputs.items()}, outputs)
        return TfliteModel(
            data=data,
            input_layouts={name: self._layout_name(value) for name, value in inputs.items()},
            input_shapes={name: value.stored_shape for name, value in inputs.items()},
            hybrid_layers=frozenset(self._hybrid),
            operators=dict(sorted(Counter(self._model.operator_names()).items())),
        )

    def refusals(self, handlers: Mapping[str, "Handler"]) -> tuple[UnsupportedModelError, ...]:
        """Return every node that has no TFLite form, in the graph's order.

        Behind a refused node the search goes on as if its outputs were there. Where their
        types are unknown, the nodes that read them are passed over: they may well be fine.
        """
        found: list[UnsupportedModelError] = []
        unknown: set[str] = set()
        for name in self.graph.inputs:
            try:
                self._add_input(name)
            except UnsupportedModelError as error:
                found.append(error)
                unknown.add(name)
        for node in self.graph.nodes:
            if unknown.intersection(node.inputs):
                unknown.update(node.outputs)
                continue
            try:
                self._lower(node, handlers)
            except UnsupportedModelError as error:
                found.append(error)
                unknown.update(name for name in node.outputs if not self._stand_in(name))
        return tuple(found)

    def _stand_in(self, name: str) -> bool:
        """Put a value in the place of an output that could not be computed, if possible."""
        if name in self._values:
            return True
        if not name or not self.graph.has_type(name) or self.graph.dtype(name) not in _STORABLE:
            return False
        shape = self.graph.shape(name)
        self._values[name] = self.temporary(shape, identity(len(shape)), self.graph.dtype(name))
        return True

    def _lower(self, node: Node, handlers: Mapping[str, "Handler"]) -> None:
        if node.name in self._done:
            return
        handler = handlers.get(node.op) if not node.domain else None
        if handler is None:
            raise node.refuse("there is no TFLite form for this operator", SUGGESTION)
        handler(self, node)

    def _add_input(self, name: str) -> Value:
        shape, dtype = self.graph.shape(name), self.graph.dtype(name)
        self._check_dtype(name, dtype)
        self._require_elements(name, shape)
        image = len(shape) == IMAGE_RANK and self._image_layout == "nchw"
        perm = NHWC if image else identity(len(shape))
        stored = tuple(shape[axis] for axis in perm)
        grid = self._edge_grid(name)
        tensor = self._model.tensor(name, stored, _stored_dtype(dtype, grid), grid)
        value = Value(tensor=tensor, shape=shape, perm=perm, dtype=dtype, grid=grid)
        self._values[name] = value
        if grid is not None and grid.dtype == "uint8":
            self._values[name] = self._regrid(value, self.grid(name))
        return value

    def _edge_grid(self, name: str) -> Grid | None:
        """Return the grid of an input or output of the file; ``None`` for a float one."""
        grid = self._plan.tensors.get(name) if self._plan is not None else None
        if self._io == "float32" or grid is None or grid.dtype != "int8":
            return None
        return grid if self._io == "int8" else unsigned(grid)

    def _layout_name(self, value: Value) -> Layout:
        if len(value.shape) != IMAGE_RANK:
            return "none"
        return "nhwc" if value.perm == NHWC else self._image_layout

    def _add_output(self, name: str) -> int:
        value = self._view(name, identity(len(self.graph.shape(name))), self._edge_grid(name))
        self._require_elements(name, value.shape)
        taken = self._given() | self._returned
        if name in self.graph.constants or value.tensor in taken:
            # A tensor of the file has one name; two of ONNX's may be the same one here.
            copy = self.temporary(value.shape, value.perm, value.dtype, value.grid)
            self.emit_reshape(value, copy)
            value = copy
        self._model.rename(value.tensor, name)
        self._returned.add(value.tensor)
        return value.tensor

    def _given(self) -> set[int]:
        return {self._values[name].tensor for name in self.graph.inputs}


def _stored_dtype(dtype: np.dtype[np.generic], grid: Grid | None) -> np.dtype[np.generic]:
    return dtype if grid is None else np.dtype(grid.dtype)


Handler: TypeAlias = Callable[[Lowering, Node], None]
"""Writes one ONNX node; raises ``UnsupportedModelError`` for what it does not know."""
