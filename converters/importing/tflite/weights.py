"""Constants of a TFLite file as real numbers, and what whole-number tensors say about it."""

from typing import Final, Literal

import numpy as np

from converters.arrays import Array, Floats
from converters.importing.tflite.file import LEFT_OUT, FileGraph, FileTensor, Quantization
from edgeops.errors import ConversionError

Kind = Literal["float", "hybrid", "quantized"]
"""Float throughout; int8 weights with float activations; int8 activations."""

QUANTIZED_KINDS: Final = frozenset({"int4", "int8", "uint8", "int16"})


def real_values(tensor: FileTensor) -> Array | None:
    """Return a constant in real numbers: integers with scales and half floats as float32.

    Raises:
        ConversionError: Its scales do not fit its shape, or it is stored sparsely.
    """
    if tensor.is_sparse:
        raise ConversionError(f"constant {tensor.name!r} is stored sparsely: convert it densely")
    value = tensor.value()
    if value is None:
        return None
    if value.dtype == np.float16:
        return value.astype(np.float32)
    if tensor.quantization is not None and tensor.kind in QUANTIZED_KINDS | {"int32"}:
        return dequantized(tensor.name, value, tensor.quantization)
    return value


def dequantized(name: str, value: Array, quantization: Quantization) -> Floats:
    """Return ``scale * (value - zero_point)``, per channel where there are several scales.

    Raises:
        ConversionError: There are as many scales as fit no axis.
    """
    scale = np.asarray(quantization.scale, np.float64)
    zero = np.broadcast_to(np.asarray(quantization.zero_point, np.float64), scale.shape)
    shape: tuple[int, ...] = ()
    if scale.size > 1:
        axis = quantization.axis
        if not 0 <= axis < value.ndim or value.shape[axis] != scale.size:
            raise ConversionError(
                f"constant {name!r} {list(value.shape)} has {scale.size} scales on axis {axis}"
            )
        shape = tuple(-1 if i == axis else 1 for i in range(value.ndim))
    real = (value.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)
    return real.astype(np.float32)


def kind_of(graph: FileGraph) -> Kind:
    """Return what sort of numbers ``graph`` computes with."""
    made = {index for operator in graph.operators for index in operator.outputs}
    activations = [graph.tensors[index] for index in sorted(made | set(graph.inputs))]
    if any(t.quantization is not None and t.kind in QUANTIZED_KINDS for t in activations):
        return "quantized"
    return "hybrid" if hybrid_operators(graph) else "float"


def hybrid_operators(graph: FileGraph) -> tuple[int, ...]:
    """Return the operators (by index) that read integer weights beside float activations."""
    return tuple(
        operator.index
        for operator in graph.operators
        if operator.code != "DEQUANTIZE"
        and any(
            graph.tensors[index].data is not None
            and graph.tensors[index].quantization is not None
            and graph.tensors[index].kind in QUANTIZED_KINDS
            for index in operator.inputs
            if index != LEFT_OUT
        )
    )
