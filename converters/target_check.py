"""Hold a written model file against its target: operators, opset, memory."""

from typing import TYPE_CHECKING, Final

from converters.arena import Step, peak_bytes
from converters.targets import Target
from edgeops.errors import ConversionError, UnsupportedModelError

if TYPE_CHECKING:
    from converters.importing.tflite.file import FileGraph, FileTensor

_LEFT_OUT: Final = -1
"""Stands for an optional input that is not given."""


class ForeignOperatorsError(UnsupportedModelError):
    """A file uses operators that its target does not know.

    Attributes:
        nodes: One error for each operator in the way, in the file's order.
    """

    def __init__(self, target: str, nodes: tuple[UnsupportedModelError, ...]) -> None:
        kinds = ", ".join(sorted({node.operator for node in nodes}))
        super().__init__(
            node=nodes[0].node,
            operator=nodes[0].operator,
            reason=f"the target {target} does not know {kinds}, which the file needs",
        )
        self.nodes = nodes


def check_tflite(data: bytes, target: Target) -> None:
    """Refuse a TFLite file with operators outside the target's list.

    Raises:
        ForeignOperatorsError: It uses such operators; the error lists every one.
    """
    if not target.operators:
        return
    graph = _graph_of(data)
    foreign = tuple(
        UnsupportedModelError(
            node=graph.tensors[operator.outputs[0]].name if operator.outputs else operator.code,
            operator=operator.code,
            reason=f"the target {target.name} does not know this operator",
            suggestion="choose another target, or export the model without it",
        )
        for operator in graph.operators
        if operator.code not in target.operators
    )
    if foreign:
        raise ForeignOperatorsError(target.name, foreign)


def check_opset(opset: int, target: Target) -> None:
    """Refuse an ONNX file that is newer than what the target reads.

    Raises:
        ConversionError: Its operator set is too new.
    """
    if opset > target.max_opset:
        raise ConversionError(
            f"the model needs ONNX operator set {opset}, the target {target.name} reads up to "
            f"{target.max_opset}"
        )


def arena_bytes(data: bytes) -> int:
    """Return the least memory that the tensors of a TFLite file need at once.

    Raises:
        ConversionError: The file is damaged.
    """
    graph = _graph_of(data)
    sizes = {
        number: _size(tensor) for number, tensor in enumerate(graph.tensors) if tensor.data is None
    }
    return peak_bytes(sizes, _steps(graph), inputs=graph.inputs, outputs=graph.outputs)


def _graph_of(data: bytes) -> "FileGraph":
    from converters.importing.tflite.file import parse_tflite  # noqa: PLC0415 - see variants

    return parse_tflite(data, "the file").graphs[0]


def _steps(graph: "FileGraph") -> list[Step]:
    return [
        Step(tuple(n for n in operator.inputs if n != _LEFT_OUT), operator.outputs)
        for operator in graph.operators
    ]


def _size(tensor: "FileTensor") -> int:
    count = 1
    for length in tensor.shape:
        count *= length
    return count * (tensor.dtype.itemsize if tensor.dtype is not None else 1)
