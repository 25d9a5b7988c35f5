"""ONNX's reference implementation: slow, but never older than the operators of a file."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx
import onnx.checker
import onnx.reference

from converters.arrays import Array, Feeds
from converters.onnx_format import IR_VERSION, TARGET_OPSET, decode, first_line
from edgeops.errors import ConversionError

_HALVES: Final = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})
_FAILURES: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    NotImplementedError,
    onnx.checker.ValidationError,
)


class OnnxOwnRuntime:
    """A loaded model.

    Raises:
        ConversionError: An operator has no reference implementation, or the file is damaged.
    """

    def __init__(self, data: bytes) -> None:
        model = decode(data, "model")
        try:
            onnx.checker.check_model(model)
            self._evaluator = onnx.reference.ReferenceEvaluator(model)
        except _FAILURES as error:
            raise ConversionError(f"ONNX cannot run the model: {first_line(error)}") from error
        self._outputs = [value.name for value in model.graph.output]

    def run(self, feeds: Feeds) -> Mapping[str, Array]:
        """Return output name -> tensor for one sample; raises ``ConversionError``."""
        try:
            results = self._evaluator.run(None, dict(feeds))
        except _FAILURES as error:
            raise ConversionError(f"ONNX fails on a sample: {first_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, results, strict=True)}

    @staticmethod
    def is_newer_than_usual(data: bytes) -> bool:
        """Whether a runtime may refuse the file only for its version numbers."""
        model = decode(data, "model")
        newest = max((entry.version for entry in model.opset_import if not entry.domain), default=0)
        return newest > TARGET_OPSET or model.ir_version > IR_VERSION

    @staticmethod
    def has_halves(data: bytes) -> bool:
        """Whether weights, inputs or outputs are in half precision."""
        graph = decode(data, "model").graph
        ports = (value.type.tensor_type.elem_type for value in [*graph.input, *graph.output])
        kinds = {*ports, *(tensor.data_type for tensor in graph.initializer)}
        return not kinds.isdisjoint(_HALVES)
