"""Which handler lowers which ONNX operator."""

from collections.abc import Mapping
from typing import Final

from converters.graph import Graph
from converters.quant.expansion import expand
from converters.quant.plan import QuantPlan
from converters.tflite import (
    ops_conv_transpose,
    ops_elementwise,
    ops_functions,
    ops_index,
    ops_layers,
    ops_logic,
    ops_norm,
    ops_pool,
    ops_rearrange,
    ops_recurrent,
    ops_reduce,
    ops_resize,
    ops_shape,
)
from converters.tflite.lowering import EdgeType, Handler, Lowering, TfliteModel, WeightForm
from edgeops.contracts.scalars import Layout
from edgeops.errors import UnsupportedModelError

HANDLERS: Final[Mapping[str, Handler]] = {
    "Abs": ops_functions.lower_builtin,
    "Add": ops_elementwise.lower_binary,
    "And": ops_logic.lower_logic,
    "ArgMax": ops_reduce.lower_arg,
    "ArgMin": ops_reduce.lower_arg,
    "AveragePool": ops_pool.lower_average_pool,
    "Cast": ops_logic.lower_cast,
    "Ceil": ops_functions.lower_builtin,
    "Celu": ops_functions.lower_elu,
    "Clip": ops_elementwise.lower_clip,
    "Concat": ops_shape.lower_concat,
    "Conv": ops_layers.lower_conv,
    "ConvTranspose": ops_conv_transpose.lower_conv_transpose,
    "Cos": ops_functions.lower_builtin,
    "Cosh": ops_functions.lower_hyperbolic,
    "CumSum": ops_rearrange.lower_cum_sum,
    "DepthToSpace": ops_rearrange.lower_depth_to_space,
    "Div": ops_elementwise.lower_binary,
    "Elu": ops_functions.lower_elu,
    "Equal": ops_logic.lower_comparison,
    "Erf": ops_functions.lower_erf,
    "Exp": ops_elementwise.lower_unary,
    "Expand": ops_rearrange.lower_expand,
    "Flatten": ops_shape.lower_reshape,
    "Floor": ops_functions.lower_builtin,
    "GRU": ops_recurrent.lower_recurrent,
    "Gather": ops_index.lower_gather,
    "GatherElements": ops_index.lower_gather_elements,
    "GatherND": ops_index.lower_gather_nd,
    "Gelu": ops_functions.lower_gelu,
    "Gemm": ops_layers.lower_gemm,
    "GlobalAveragePool": ops_reduce.lower_global_pool,
    "GlobalMaxPool": ops_reduce.lower_global_pool,
    "Greater": ops_logic.lower_comparison,
    "GreaterOrEqual": ops_logic.lower_comparison,
    "GroupNormalization": ops_norm.lower_group_norm,
    "HardSigmoid": ops_elementwise.lower_hard_sigmoid,
    "HardSwish": ops_elementwise.lower_unary,
    "Hardmax": ops_norm.lower_hardmax,
    "Identity": ops_shape.lower_identity,
    "InstanceNormalization": ops_norm.lower_instance_norm,
    "IsInf": ops_functions.lower_is,
    "IsNaN": ops_functions.lower_is,
    "LRN": ops_norm.lower_lrn,
    "LSTM": ops_recurrent.lower_recurrent,
    "LayerNormalization": ops_norm.lower_layer_norm,
    "LeakyRelu": ops_elementwise.lower_leaky_relu,
    "Less": ops_logic.lower_comparison,
    "LessOrEqual": ops_logic.lower_comparison,
    "Log": ops_elementwise.lower_unary,
    "LogSoftmax": ops_norm.lower_log_softmax,
    "LpNormalization": ops_norm.lower_lp_norm,
    "MatMul": ops_layers.lower_matmul,
    "Max": ops_elementwise.lower_extreme,
    "MaxPool": ops_pool.lower_max_pool,
    "Mean": ops_logic.lower_many,
    "MeanVarianceNormalization": ops_norm.lower_mean_variance_norm,
    "Min": ops_elementwise.lower_extreme,
    "Mish": ops_functions.lower_mish,
    "Mod": ops_logic.lower_mod,
    "Mul": ops_elementwise.lower_binary,
    "Neg": ops_functions.lower_builtin,
    "Not": ops_logic.lower_logic,
    "OneHot": ops_index.lower_one_hot,
    "Or": ops_logic.lower_logic,
    "PRelu": ops_norm.lower_prelu,
    "Pad": ops_shape.lower_pad,
    "Pow": ops_logic.lower_pow,
    "RMSNormalization": ops_norm.lower_layer_norm,
    "RNN": ops_recurrent.lower_recurrent,
    "Reciprocal": ops_functions.lower_reciprocal,
    "ReduceL1": ops_reduce.lower_reduce_norm,
    "ReduceL2": ops_reduce.lower_reduce_norm,
    "ReduceLogSum": ops_reduce.lower_reduce_norm,
    "ReduceLogSumExp": ops_reduce.lower_reduce_norm,
    "ReduceMax": ops_reduce.lower_reduce,
    "ReduceMean": ops_reduce.lower_reduce,
    "ReduceMin": ops_reduce.lower_reduce,
    "ReduceProd": ops_reduce.lower_reduce,
    "ReduceSum": ops_reduce.lower_reduce,
    "ReduceSumSquare": ops_reduce.lower_reduce_norm,
    "Relu": ops_elementwise.lower_unary,
    "Reshape": ops_shape.lower_reshape,
    "Resize": ops_resize.lower_resize,
    "Round": ops_functions.lower_builtin,
    "Selu": ops_functions.lower_elu,
    "Shrink": ops_functions.lower_threshold,
    "Sigmoid": ops_elementwise.lower_unary,
    "Sign": ops_functions.lower_sign,
    "Sin": ops_functions.lower_builtin,
    "Sinh": ops_functions.lower_hyperbolic,
    "Slice": ops_shape.lower_slice,
    "Softmax": ops_elementwise.lower_softmax,
    "Softplus": ops_functions.lower_softplus,
    "Softsign": ops_functions.lower_softsign,
    "SpaceToDepth": ops_rearrange.lower_space_to_depth,
    "Split": ops_shape.lower_split,
    "Sqrt": ops_elementwise.lower_unary,
    "Squeeze": ops_shape.lower_reshape,
    "Sub": ops_elementwise.lower_binary,
    "Sum": ops_logic.lower_many,
    "Swish": ops_functions.lower_swish,
    "Tan": ops_functions.lower_hyperbolic,
    "Tanh": ops_elementwise.lower_unary,
    "ThresholdedRelu": ops_functions.lower_threshold,
    "Tile": ops_rearrange.lower_tile,
    "TopK": ops_reduce.lower_top_k,
    "Transpose": ops_shape.lower_transpose,
    "Trilu": ops_rearrange.lower_trilu,
    "Unsqueeze": ops_shape.lower_reshape,
    "Where": ops_logic.lower_where,
    "Xor": ops_logic.lower_logic,
}

AT_IMPORT: Final = frozenset(
    {"BatchNormalization", "Constant", "ConstantOfShape", "Dropout", "Range", "Shape", "Size"}
)
"""Operators that import folds or rewrites, so that no handler meets them."""


def unsupported(graph: Graph, plan: QuantPlan | None = None) -> tuple[UnsupportedModelError, ...]:
    """Return every node of ``graph`` that has no TFLite form, each with reason and suggestion.

    Args:
        graph: A normalised graph.
        plan: Which nodes compute in int8, and how; ``None`` for none.
    """
    if plan is not None:
        graph, plan = expand(graph, plan)
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
    if plan is not None:
        graph, plan = expand(graph, plan)
    return Lowering(graph, plan, weights=weights, image_layout=image_layout, io=io).run(HANDLERS)
