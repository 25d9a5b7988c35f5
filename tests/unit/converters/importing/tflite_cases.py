"""One case for every way in which an imported operator is used."""

import numpy as np

from converters.arrays import Array
from converters.tflite.schema import Option
from tests.unit.converters.importing.tflite_files import Case, Options
from tests.unit.converters.nets import floats

IMAGE = (1, 7, 6, 4)


def ints(*values: int) -> Array:
    return np.asarray(values, np.int32)


def convolution(**more: Option) -> Options:
    fields: dict[str, Option] = {
        "padding": "SAME",
        "strideW": 1,
        "strideH": 1,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
    }
    return "Conv2DOptions", {**fields, **more}


def depthwise(**more: Option) -> Options:
    fields: dict[str, Option] = {
        "padding": "VALID",
        "strideW": 2,
        "strideH": 1,
        "depthMultiplier": 2,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
    }
    return "DepthwiseConv2DOptions", {**fields, **more}


def pool(**more: Option) -> Options:
    fields: dict[str, Option] = {
        "padding": "SAME",
        "strideW": 2,
        "strideH": 2,
        "filterWidth": 3,
        "filterHeight": 2,
    }
    return "Pool2DOptions", {**fields, **more}


def sliced(**more: Option) -> Options:
    fields: dict[str, Option] = {
        "beginMask": 0,
        "endMask": 0,
        "ellipsisMask": 0,
        "newAxisMask": 0,
        "shrinkAxisMask": 0,
    }
    return "StridedSliceOptions", {**fields, **more}


def dense(**more: Option) -> Options:
    return "FullyConnectedOptions", more


KERNEL = floats(1, 5, 3, 3, 4)
DEPTH = floats(2, 1, 3, 2, 8)
BIAS = floats(3, 5)

CASES = {
    "conv same": Case("CONV_2D", [IMAGE, KERNEL, BIAS], [(1, 7, 6, 5)], convolution()),
    "conv same stride 2, relu6": Case(
        "CONV_2D",
        [IMAGE, KERNEL, BIAS],
        [(1, 4, 3, 5)],
        convolution(strideW=2, strideH=2, fusedActivationFunction="RELU6"),
    ),
    "conv valid, dilated, relu_n1_to_1": Case(
        "CONV_2D",
        [IMAGE, KERNEL, BIAS],
        [(1, 3, 4, 5)],
        convolution(padding="VALID", dilationHFactor=2, fusedActivationFunction="RELU_N1_TO_1"),
    ),
    "depthwise multiplier 2": Case(
        "DEPTHWISE_CONV_2D", [IMAGE, DEPTH, floats(4, 8)], [(1, 5, 3, 8)], depthwise()
    ),
    "depthwise same": Case(
        "DEPTHWISE_CONV_2D",
        [IMAGE, DEPTH, floats(4, 8)],
        [(1, 7, 3, 8)],
        depthwise(padding="SAME", fusedActivationFunction="RELU"),
    ),
    "transposed conv same": Case(
        "TRANSPOSE_CONV",
        [ints(1, 13, 12, 5), KERNEL, IMAGE],
        [(1, 13, 12, 5)],
        ("TransposeConvOptions", {"padding": "SAME", "strideW": 2, "strideH": 2}),
    ),
    "transposed conv valid, larger": Case(
        "TRANSPOSE_CONV",
        [ints(1, 16, 13, 5), KERNEL, IMAGE],
        [(1, 16, 13, 5)],
        ("TransposeConvOptions", {"padding": "VALID", "strideW": 2, "strideH": 2}),
    ),
    "dense": Case("FULLY_CONNECTED", [(2, 6), floats(5, 3, 6), floats(6, 3)], [(2, 3)], dense()),
    "dense of an image, no bias": Case(
        "FULLY_CONNECTED", [(1, 2, 3, 4), floats(5, 3, 24), None], [(1, 3)], dense()
    ),
    "dense keeping axes": Case(
        "FULLY_CONNECTED",
        [(1, 2, 3, 4), floats(5, 3, 4), floats(6, 3)],
        [(1, 2, 3, 3)],
        dense(keepNumDims=True, fusedActivationFunction="RELU"),
        version=5,
    ),
    "batch matmul": Case(
        "BATCH_MATMUL",
        [(2, 3, 4), (2, 5, 4)],
        [(2, 3, 5)],
        ("BatchMatMulOptions", {"adjY": True}),
    ),
    "average pool": Case("AVERAGE_POOL_2D", [IMAGE], [(1, 4, 3, 4)], pool()),
    "max pool": Case("MAX_POOL_2D", [IMAGE], [(1, 3, 2, 4)], pool(padding="VALID")),
    "mean keep": Case(
        "MEAN", [IMAGE, ints(1, 2)], [(1, 1, 1, 4)], ("ReducerOptions", {"keepDims": True})
    ),
    "mean": Case("MEAN", [IMAGE, ints(-1, 1)], [(1, 6)], ("ReducerOptions", {})),
    "sum": Case("SUM", [IMAGE, ints(2)], [(1, 7, 4)], ("ReducerOptions", {})),
    "reduce max": Case("REDUCE_MAX", [IMAGE, ints(3)], [(1, 7, 6)], ("ReducerOptions", {})),
    "reduce min": Case("REDUCE_MIN", [IMAGE, ints(3)], [(1, 7, 6)], ("ReducerOptions", {})),
    "reduce prod": Case("REDUCE_PROD", [IMAGE, ints(3)], [(1, 7, 6)], ("ReducerOptions", {})),
    "arg max": Case(
        "ARG_MAX",
        [IMAGE, ints(3)],
        [(1, 7, 6)],
        ("ArgMaxOptions", {"outputType": 2}),
        kinds=["int32"],
    ),
    "arg min": Case(
        "ARG_MIN",
        [IMAGE, ints(1)],
        [(1, 6, 4)],
        ("ArgMinOptions", {"outputType": 4}),
        kinds=["int64"],
    ),
    "top k": Case(
        "TOPK_V2",
        [(3, 9), np.asarray(4, np.int32)],
        [(3, 4), (3, 4)],
        ("TopKV2Options", {}),
        kinds=["float32", "int32"],
    ),
    "cumsum": Case(
        "CUMSUM", [IMAGE, np.asarray(2, np.int32)], [IMAGE], ("CumsumOptions", {"exclusive": True})
    ),
    "softmax beta": Case("SOFTMAX", [IMAGE], [IMAGE], ("SoftmaxOptions", {"beta": 0.5})),
    "log softmax": Case("LOG_SOFTMAX", [(2, 9)], [(2, 9)], ("LogSoftmaxOptions", {})),
    "l2 norm": Case("L2_NORMALIZATION", [IMAGE], [IMAGE], ("L2NormOptions", {})),
    "add broadcast, relu": Case(
        "ADD", [IMAGE, floats(7, 4)], [IMAGE], ("AddOptions", {"fusedActivationFunction": "RELU"})
    ),
    "sub": Case("SUB", [IMAGE, IMAGE], [IMAGE], ("SubOptions", {})),
    "mul by lower rank": Case("MUL", [IMAGE, (6, 1)], [IMAGE], ("MulOptions", {})),
    "div": Case("DIV", [IMAGE, IMAGE], [IMAGE], ("DivOptions", {}), low=0.5),
    "maximum": Case("MAXIMUM", [IMAGE, IMAGE], [IMAGE], ("MaximumMinimumOptions", {})),
    "minimum": Case(
        "MINIMUM", [IMAGE, np.asarray(0.5, np.float32)], [IMAGE], ("MaximumMinimumOptions", {})
    ),
    "pow": Case("POW", [IMAGE, np.asarray(1.5, np.float32)], [IMAGE], ("PowOptions", {}), low=0.1),
    "squared difference": Case(
        "SQUARED_DIFFERENCE", [IMAGE, IMAGE], [IMAGE], ("SquaredDifferenceOptions", {})
    ),
    **{
        code.lower(): Case(code, [IMAGE, IMAGE], [IMAGE], (name, {}), kinds=["bool"])
        for code, name in {
            "GREATER": "GreaterOptions",
            "GREATER_EQUAL": "GreaterEqualOptions",
            "LESS": "LessOptions",
            "LESS_EQUAL": "LessEqualOptions",
            "EQUAL": "EqualOptions",
            "NOT_EQUAL": "NotEqualOptions",
        }.items()
    },
    **{
        code.lower(): Case(code, [IMAGE], [IMAGE], low=low)
        for code, low in {
            "RELU": -3.0,
            "RELU6": -3.0,
            "RELU_N1_TO_1": -3.0,
            "RELU_0_TO_1": -3.0,
            "LOGISTIC": -3.0,
            "TANH": -3.0,
            "ELU": -3.0,
            "EXP": -3.0,
            "LOG": 0.1,
            "SQRT": 0.1,
            "RSQRT": 0.1,
            "NEG": -3.0,
            "ABS": -3.0,
            "SIN": -3.0,
            "COS": -3.0,
            "FLOOR": -3.0,
            "CEIL": -3.0,
            "ROUND": -3.0,
            "SIGN": -3.0,
            "HARD_SWISH": -4.0,
            "SQUARE": -3.0,
        }.items()
    },
    "leaky relu": Case("LEAKY_RELU", [IMAGE], [IMAGE], ("LeakyReluOptions", {"alpha": 0.2})),
    "gelu": Case("GELU", [IMAGE], [IMAGE], ("GeluOptions", {"approximate": False})),
    "gelu by tanh": Case("GELU", [IMAGE], [IMAGE], ("GeluOptions", {"approximate": True})),
    "prelu": Case("PRELU", [IMAGE, floats(8, 1, 1, 4)], [IMAGE]),
    "cast": Case(
        "CAST",
        [IMAGE],
        [IMAGE],
        ("CastOptions", {"inDataType": 0, "outDataType": 2}),
        kinds=["int32"],
    ),
    "logical and": Case("LOGICAL_AND", [IMAGE, IMAGE], [IMAGE], kinds=["bool"], bools=[0, 1]),
    "logical or": Case("LOGICAL_OR", [IMAGE, IMAGE], [IMAGE], kinds=["bool"], bools=[0, 1]),
    "logical not": Case("LOGICAL_NOT", [IMAGE], [IMAGE], kinds=["bool"], bools=[0]),
    "select": Case("SELECT", [IMAGE, IMAGE, IMAGE], [IMAGE], bools=[0]),
    "select v2": Case("SELECT_V2", [IMAGE, IMAGE, (6, 1)], [IMAGE], bools=[0]),
    "reshape": Case(
        "RESHAPE",
        [IMAGE, ints(1, 42, 4)],
        [(1, 42, 4)],
        ("ReshapeOptions", {"newShape": (1, 42, 4)}),
    ),
    "squeeze": Case(
        "SQUEEZE", [(1, 5, 1, 3)], [(5, 3)], ("SqueezeOptions", {"squeezeDims": (0, 2)})
    ),
    "expand dims": Case(
        "EXPAND_DIMS", [(5, 3), np.asarray(1, np.int32)], [(5, 1, 3)], ("ExpandDimsOptions", {})
    ),
    "transpose": Case(
        "TRANSPOSE", [IMAGE, ints(0, 2, 3, 1)], [(1, 6, 4, 7)], ("TransposeOptions", {})
    ),
    "pad": Case(
        "PAD",
        [IMAGE, ints(0, 0, 1, 2, 0, 3, 0, 0).reshape(4, 2)],
        [(1, 10, 9, 4)],
        ("PadOptions", {}),
    ),
    "pad with a value": Case(
        "PADV2",
        [IMAGE, ints(0, 0, 1, 2, 0, 3, 1, 0).reshape(4, 2), np.asarray(2.5, np.float32)],
        [(1, 10, 9, 5)],
        ("PadV2Options", {}),
    ),
    "mirror pad": Case(
        "MIRROR_PAD",
        [IMAGE, ints(0, 0, 1, 2, 0, 3, 0, 0).reshape(4, 2)],
        [(1, 10, 9, 4)],
        ("MirrorPadOptions", {"mode": 0}),
    ),
    "mirror pad symmetric by one": Case(
        "MIRROR_PAD",
        [IMAGE, ints(0, 0, 1, 1, 0, 1, 0, 0).reshape(4, 2)],
        [(1, 9, 7, 4)],
        ("MirrorPadOptions", {"mode": 1}),
    ),
    "concat": Case(
        "CONCATENATION",
        [IMAGE, (1, 7, 2, 4), floats(10, 1, 7, 1, 4)],
        [(1, 7, 9, 4)],
        ("ConcatenationOptions", {"axis": 2}),
    ),
    "split": Case(
        "SPLIT",
        [np.asarray(-1, np.int32), IMAGE],
        [(1, 7, 6, 2), (1, 7, 6, 2)],
        ("SplitOptions", {"numSplits": 2}),
    ),
    "split by sizes": Case(
        "SPLIT_V",
        [IMAGE, ints(1, 3), np.asarray(3, np.int32)],
        [(1, 7, 6, 1), (1, 7, 6, 3)],
        ("SplitVOptions", {"numSplits": 2}),
    ),
    "slice": Case(
        "SLICE", [IMAGE, ints(0, 1, 2, 0), ints(1, 3, -1, 2)], [(1, 3, 4, 2)], ("SliceOptions", {})
    ),
    "strided slice": Case(
        "STRIDED_SLICE",
        [IMAGE, ints(0, 1, -1, 0), ints(0, 6, -7, 3), ints(1, 2, -2, 1)],
        [(1, 3, 3, 4)],
        sliced(beginMask=1, endMask=9),
    ),
    "strided slice, descending to the start": Case(
        "STRIDED_SLICE",
        [IMAGE, ints(0, 5), ints(1, 0), ints(1, -2)],
        [(1, 3, 6, 4)],
        sliced(endMask=2),
    ),
    "strided slice, one element": Case(
        "STRIDED_SLICE",
        [IMAGE, ints(0, -2), ints(1, 99), ints(1, 1)],
        [(6, 4)],
        sliced(shrinkAxisMask=3),
    ),
    "gather": Case(
        "GATHER", [IMAGE, ints(3, 0, 3)], [(1, 7, 6, 3)], ("GatherOptions", {"axis": -1})
    ),
    "gather nd": Case(
        "GATHER_ND", [(4, 3, 2), ints(3, 0, 1, 2).reshape(2, 2)], [(2, 2)], ("GatherNdOptions", {})
    ),
    "pack": Case(
        "PACK", [(2, 3), (2, 3)], [(2, 2, 3)], ("PackOptions", {"valuesCount": 2, "axis": 1})
    ),
    "unpack": Case(
        "UNPACK", [(2, 3)], [(2,), (2,), (2,)], ("UnpackOptions", {"num": 3, "axis": 1})
    ),
    "tile": Case("TILE", [(2, 3), ints(2, 1)], [(4, 3)], ("TileOptions", {})),
    "broadcast": Case(
        "BROADCAST_TO", [(1, 3), ints(4, 3)], [(4, 3)], ("BroadcastToOptions", {}), version=2
    ),
    "reverse": Case("REVERSE_V2", [IMAGE, ints(2)], [IMAGE], ("ReverseV2Options", {})),
    "shape": Case("SHAPE", [IMAGE], [(4,)], ("ShapeOptions", {"outType": 2}), kinds=["int32"]),
    "space to depth": Case(
        "SPACE_TO_DEPTH", [(1, 4, 6, 3)], [(1, 2, 3, 12)], ("SpaceToDepthOptions", {"blockSize": 2})
    ),
    "depth to space": Case(
        "DEPTH_TO_SPACE", [(1, 2, 3, 12)], [(1, 4, 6, 3)], ("DepthToSpaceOptions", {"blockSize": 2})
    ),
    **{
        f"{code.lower()} {style}": Case(
            code,
            [IMAGE, ints(11, 4)],
            [(1, 11, 4, 4)],
            (
                options,
                {"alignCorners": style == "corners", "halfPixelCenters": style == "half pixel"},
            ),
            version=3,
        )
        for code, options in {
            "RESIZE_BILINEAR": "ResizeBilinearOptions",
            "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
        }.items()
        for style in ("plain", "corners", "half pixel")
    },
}
