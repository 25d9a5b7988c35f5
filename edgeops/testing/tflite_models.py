"""A tiny TFLite model with known answers, written by its schema (needs ``ai_edge_litert``)."""

from pathlib import Path
from typing import Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeops.inference.arrays import Array
from edgeops.testing.models import COLORS, SIDE

_SHARPNESS: Final = 12.0
_VERSION: Final = 3
_IDENTIFIER: Final = b"TFL3"

# real = scale * (q - zero_point) of every tensor of the quantized model
_PIXEL: Final = (1 / 255, -128)
_WEIGHT: Final = (_SHARPNESS / 127, 0)
_LOGIT: Final = (_SHARPNESS / 255, -128)
_PROBABILITY: Final = (1 / 256, -128)


class _Tensors:
    """Tensors and buffers of a graph under construction."""

    def __init__(self) -> None:
        self.tensors: list[object] = []
        self.buffers: list[object] = [schema.BufferT()]

    def add(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: int,
        *,
        quantization: tuple[float, int] | None = None,
        data: Array | None = None,
    ) -> int:
        """Add a tensor; return its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), kind
        if quantization is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale, parameters.zeroPoint = [quantization[0]], [quantization[1]]
            tensor.quantization = parameters
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), dtype=np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def color_classifier_tflite(path: Path, *, quantized: bool = False) -> Path:
    """Write the classifier ``[1, 8, 8, 3]`` (RGB, 0..1) of the prevailing colour; return its path.

    Args:
        path: Of the ``.tflite`` file.
        quantized: Make every tensor int8, input and output too.
    """
    classes = len(COLORS)
    real = schema.TensorType.INT8 if quantized else schema.TensorType.FLOAT32
    real_weights = np.eye(classes, dtype=np.float32) * _SHARPNESS
    weights: Array = real_weights
    if quantized:
        weights = np.rint(real_weights / _WEIGHT[0]).astype(np.int8)
    bias: Array = np.zeros(classes, dtype=np.int32 if quantized else np.float32)
    made = _Tensors()
    scales = (_PIXEL, _WEIGHT, _LOGIT, _PROBABILITY) if quantized else (None,) * 4
    pixel, weight, logit, probability = scales
    source = made.add("input", (1, SIDE, SIDE, classes), real, quantization=pixel)
    pooled = made.add("pooled", (1, 1, 1, classes), real, quantization=pixel)
    matrix = made.add("weights", (classes, classes), real, quantization=weight, data=weights)
    offsets = made.add(
        "bias",
        (classes,),
        schema.TensorType.INT32 if quantized else schema.TensorType.FLOAT32,
        quantization=(_PIXEL[0] * _WEIGHT[0], 0) if quantized else None,
        data=bias,
    )
    logits = made.add("logits", (1, classes), real, quantization=logit)
    output = made.add("output", (1, classes), real, quantization=probability)

    pool = schema.Pool2DOptionsT()
    pool.filterWidth = pool.filterHeight = pool.strideW = pool.strideH = SIDE
    pool.padding = schema.Padding.VALID
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    kinds, options = schema.BuiltinOperator, schema.BuiltinOptions
    operators = [
        (kinds.AVERAGE_POOL_2D, options.Pool2DOptions, pool, [source], [pooled]),
        (
            kinds.FULLY_CONNECTED,
            options.FullyConnectedOptions,
            schema.FullyConnectedOptionsT(),
            [pooled, matrix, offsets],
            [logits],
        ),
        (kinds.SOFTMAX, options.SoftmaxOptions, softmax, [logits], [output]),
    ]
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = made.tensors, [source], [output]
    graph.operators = []
    codes = []
    for index, (kind, option_type, option, inputs, outputs) in enumerate(operators):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 4 if quantized and kind == kinds.FULLY_CONNECTED else 1 + quantized
        codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = index, inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = option_type, option
        graph.operators.append(operator)

    model = schema.ModelT()
    model.version, model.operatorCodes, model.buffers = _VERSION, codes, made.buffers
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(builder.Output()))
    return path
