"""Which handler lowers which ONNX operator."""

from collections.abc import Mapping
from typing import Final

from converters.graph import Graph
from converters.quant.plan import QuantPlan
from converters.tflite import ops_elementwise, ops_layers, ops_pool, ops_resize, ops_shape
from converters.tflite.lowering import EdgeType, Handler, Lowering, TfliteModel, WeightForm
from edgeops.contracts.scalars import Layout
from edgeops.errors import UnsupportedModelError

HANDLERS: Final[Mapping[str, Handler]] = {
    "Abs": ops_elementwise.lower_unary,
    "Add": ops_elementwise.lower_binary,
    "AveragePool": ops_pool.lower_average_pool,
    "Clip": ops_elementwise.lower_clip,
    "Concat": ops_shape.lower_concat,
    "Conv": ops_layers.lower_conv,
    "Div": ops_elementwise.lower_binary,
    "Exp": ops_elementwise.lower_unary,
    "Flatten": ops_shape.lower_reshape,
    "Gather": ops_shape.lower_gather,
    "Gemm": ops_layers.lower_gemm,
    "GlobalAveragePool": ops_pool.lower_global_pool,
    "GlobalMaxPool": ops_pool.lower_global_pool,
    "HardSigmoid": ops_elementwise.lower_hard_sigmoid,
    "HardSwish": ops_elementwise.lower_unary,
    "Identity": ops_shape.lower_identity,
    "LeakyRelu": ops_elementwise.lower_leaky_relu,
    "Log": ops_elementwise.lower_unary,
    "MatMul": ops_layers.lower_matmul,
    "Max": ops_elementwise.lower_extreme,
    "MaxPool": ops_pool.lower_max_pool,
    "Min": ops_elementwise.lower_extreme,
    "Mul": ops_elementwise.lower_binary,
    "Neg": ops_elementwise.lower_unary,
    "Pad": ops_shape.lower_pad,
    "ReduceMax": ops_pool.lower_reduce,
    "ReduceMean": ops_pool.lower_reduce,
    "ReduceMin": ops_pool.lower_reduce,
    "ReduceSum": ops_pool.lower_reduce,
    "Relu": ops_elementwise.lower_unary,
    "Reshape": ops_shape.lower_reshape,
    "Resize": ops_resize.lower_resize,
    "Sigmoid": ops_elementwise.lower_unary,
    "Slice": ops_shape.lower_slice,
    "Softmax": ops_elementwise.lower_softmax,
    "Split": ops_shape.lower_split,
    "Sqrt": ops_elementwise.lower_unary,
    "Squeeze": ops_shape.lower_reshape,
    "Sub": ops_elementwise.lower_binary,
    "Tanh": ops_elementwise.lower_unary,
    "Transpose": ops_shape.lower_transpose,
    "Unsqueeze": ops_shape.lower_reshape,
}


def unsupported(graph: Graph, plan: QuantPlan | None = None) -> tuple[UnsupportedModelError, ...]:
    """Return every node of ``graph`` that has no TFLite form, each with reason and suggestion.

    Args:
        graph: A normalised graph.
        plan: Which nodes compute in int8, and how; ``None`` for none.
    """
    return Lowering(graph, plan).refusals(HANDLERS)


def lower_to_tflite(
    graph: Graph,
    plan: QuantPlan | None = None,
    *,
    weights: WeightForm = "float32",
    image_layout: Layout = "nchw",
    io: EdgeType = "float32",
) -> TfliteModel:
    """Return the TFLite file for ``graph``: float32, or as ``plan`` says.

    Outputs keep ONNX's axes. Unless ``io`` says otherwise inputs and outputs are float32,
    and an integer file quantizes and dequantizes at its edges.

    Args:
        graph: A normalised graph.
        plan: Which nodes compute in int8, and how; ``None`` for none.
        weights: How the weights of float layers are stored.
        image_layout: What the ONNX inputs with four axes are; ``nchw`` becomes NHWC.
        io: Type of those inputs and outputs that integer nodes read and make; others stay
            float32. ``int8`` and ``uint8`` hold the same real numbers.

    Raises:
        UnsupportedModelError: A node has no TFLite form; the error names it.
    """
    return Lowering(graph, plan, weights=weights, image_layout=image_layout, io=io).run(HANDLERS)
