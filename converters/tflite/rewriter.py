"""Change single values of a TFLite file and leave the rest of it as it is.

The schema module that comes with ``ai-edge-litert`` is generated, untyped code: its objects
stay inside this module.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.arrays import Array
from converters.tflite.schema import FILE_IDENTIFIER, AlignedBuilder
from edgeops.errors import ConversionError

_SERVING: Final = "serving_default"
_TYPES: Final[Mapping[np.dtype[np.generic], int]] = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
}
_UNREADABLE: Final = (struct.error, ValueError, IndexError, TypeError, OverflowError)
"""What the generated reader raises on bytes that are no FlatBuffer."""


class TfliteRewriter:
    """A file taken apart; subgraph 0 only.

    Args:
        data: A file that ``parse_tflite`` accepts.

    Raises:
        ConversionError: The parts that importing does not read are damaged.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        except _UNREADABLE as error:
            raise ConversionError("the TFLite file is damaged: it cannot be rewritten") from error
        self._graph: Any = self._model.subgraphs[0]

    def set_constant(self, tensor: int, value: Array) -> None:
        """Give a constant another value, in plain numbers: its scales are dropped."""
        entry = self._graph.tensors[tensor]
        entry.type = _TYPES[value.dtype]
        entry.quantization = None
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        entry.buffer = len(self._model.buffers)
        self._model.buffers.append(buffer)

    def set_scale_axis(self, tensor: int, axis: int) -> None:
        """Say which axis the scales of a tensor count."""
        self._graph.tensors[tensor].quantization.quantizedDimension = axis

    def set_versions(self, versions: Mapping[str, int]) -> None:
        """Give operators (by name) another kernel version."""
        for entry in self._model.operatorCodes:
            number = max(entry.builtinCode, entry.deprecatedBuiltinCode)
            for name, version in versions.items():
                if getattr(schema.BuiltinOperator, name, None) == number:
                    entry.version = version

    def add_signature(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Add the signature by which runtimes find inputs and outputs (name -> tensor)."""
        signature = schema.SignatureDefT()
        signature.signatureKey = _SERVING
        signature.subgraphIndex = 0
        signature.inputs = [_tensor_map(*entry) for entry in inputs.items()]
        signature.outputs = [_tensor_map(*entry) for entry in outputs.items()]
        self._model.signatureDefs = [signature]

    def finish(self) -> bytes:
        """Return the file; the same changes give the same bytes.

        Raises:
            ConversionError: It holds values that cannot be written.
        """
        used = {tensor.buffer for graph in self._model.subgraphs for tensor in graph.tensors}
        used |= {entry.buffer for entry in self._model.metadata or ()}
        for index, buffer in enumerate(self._model.buffers):
            if index not in used:
                buffer.data = None  # what was replaced
        builder = AlignedBuilder(1 << 16)
        try:
            builder.Finish(self._model.Pack(builder), FILE_IDENTIFIER)
        except _UNREADABLE as error:
            raise ConversionError("the TFLite file is damaged: it cannot be rewritten") from error
        return bytes(builder.Output())


def _tensor_map(name: str, index: int) -> Any:  # noqa: ANN401 - a generated class
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
