"""Damaged and hostile files end in one sentence: no traceback, no hang, no crash."""

import contextlib
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.arrays import Array
from converters.importing.importer import import_model
from converters.importing.origin import open_origin
from converters.importing.tflite.catalog import import_tflite
from converters.importing.tflite.file import parse_tflite
from converters.onnx_format import read_model, serialize
from converters.ort import OrtModel
from converters.tflite.catalog import lower_to_tflite
from edgeops.errors import ConversionError, EdgeOpsError, UnsupportedModelError
from tests.unit.converters.importing.tflite_files import Case, difference, open_bytes
from tests.unit.converters.nets import conv_net, floats, net, node

FEW = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@cache
def whole(kind: str) -> bytes:
    graph = import_model(conv_net(channels=4))
    match kind:
        case "onnx":
            return conv_net(channels=4)
        case "float":
            return lower_to_tflite(graph).data
        case _:
            return lower_to_tflite(graph, weights="dynamic-int8").data


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    """Return a file with some bytes changed, or cut short, or with a piece repeated."""
    data = bytearray(whole(kind))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data) - 1))
        data[place] = draw(st.sampled_from([0, 1, 2, 4, 8, 0x7F, 0x80, 0xFF]))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(data) - 4)) & ~3
        word = draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data)]))
        struct.pack_into("<I", data, place, word)
    return bytes(data[: draw(st.sampled_from([len(data), len(data), len(data) // 2, 40]))])


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Let errors that are meant pass if they are one line."""
    said = ""
    try:
        yield
    except EdgeOpsError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("kind", ["float", "hybrid"])
def test_damaged_tflite_is_read_or_refused(kind: str) -> None:
    @FEW
    @given(damaged(kind))
    def check(data: bytes) -> None:
        with one_sentence():
            serialize(import_tflite(parse_tflite(data, "damaged.tflite")).graph)

    check()


def test_damaged_onnx_is_read_or_refused() -> None:
    @FEW
    @given(damaged("onnx"))
    def check(data: bytes) -> None:
        with one_sentence():
            serialize(import_model(data))

    check()


def test_constant_of_another_rank_than_its_operator_reads_is_refused() -> None:
    bias = floats(2, 1, 4)
    options = {"padding": 1, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    case = Case(
        "CONV_2D",
        [(1, 5, 5, 3), floats(1, 4, 3, 3, 3), bias],
        [(1, 3, 3, 4)],
        ("Conv2DOptions", options),
    )

    with pytest.raises(UnsupportedModelError, match=r"c2 is \[1, 4\], not of rank 1"):
        import_tflite(parse_tflite(case.data(), "m.tflite"))


@pytest.mark.parametrize("seed", range(6))
def test_damage_that_reaches_the_runtime_ends_only_its_process(seed: int, tmp_path: Path) -> None:
    """Damage to what structure cannot show: constants, options, shapes of a sound file."""
    numbers = np.random.default_rng(seed)
    data = bytearray(whole("float"))
    for place in numbers.integers(len(data) // 2, len(data), 4):
        data[place] = int(numbers.integers(0, 256))
    (tmp_path / "m.tflite").write_bytes(data)

    with one_sentence():
        origin = open_origin("m.tflite", tmp_path, source_format=None, shapes={})
        origin.reference.run({"x": floats(1, 1, 9, 9, 3)})


def amplifier(count: int) -> bytes:
    """Return a small file of ``count`` graphs that all are one, of as many tensors that are one."""
    vtable, root = 8, 20  # the vtable serves every table: fields 0 and 2, at 4 and 8
    graphs = root + 12
    graph = graphs + 4 + 4 * count
    tensors = graph + 12
    tensor = tensors + 4 + 4 * count
    shape = tensor + 12

    def table(at: int, first: int, third: int) -> bytes:
        return struct.pack("<iII", at - vtable, first, third)

    def vector(at: int, target: int) -> bytes:
        places = range(at + 4, at + 4 + 4 * count, 4)
        return struct.pack("<I", count) + b"".join(struct.pack("<I", target - p) for p in places)

    return (
        struct.pack("<I4s5H2x", root, b"TFL3", 10, 12, 4, 0, 8)
        + table(root, 3, graphs - (root + 8))
        + vector(graphs, graph)
        + table(graph, tensors - (graph + 4), shape - (graph + 8))
        + vector(tensors, tensor)
        + table(tensor, shape - (tensor + 4), 0)
        + struct.pack("<II", 1, 0)  # one axis of no elements; also: output 0
    )


def test_file_that_repeats_its_own_parts_is_refused_soon() -> None:
    """Two thousand times two thousand tables in 16 kB: reading them all would take minutes."""
    assert parse_tflite(amplifier(1), "small.tflite").graphs[0].tensors[0].shape == (0,)
    with pytest.raises(ConversionError, match="repeats its own parts"):
        parse_tflite(amplifier(2000), "small.tflite")


@pytest.mark.parametrize("size", [0, 3, 8, 16, 31])
def test_stub_of_a_file_is_no_model(size: int) -> None:
    with pytest.raises(ConversionError, match="not a TFLite model"):
        parse_tflite((b"\x14\0\0\0TFL3" + bytes(64))[:size], "stub.tflite")


def cyclic() -> bytes:
    nodes = [node("Add", "x b", "a", name="one"), node("Relu", "a", "b", name="two")]
    return net(nodes, inputs={"x": [1]}, outputs={"b": [1]})


def twice_made() -> bytes:
    nodes = [node("Relu", "x", "y", name="one"), node("Neg", "x", "y", name="two")]
    return net(nodes, inputs={"x": [1]}, outputs={"y": [1]})


def wrong_shape() -> bytes:
    constants: dict[str, Array] = {"w": floats(1, 4)}
    nodes = [node("Add", "x w", "y")]
    data = net(nodes, inputs={"x": [4]}, outputs={"y": [4]}, constants=constants)
    model = onnx.load_from_string(data)
    model.graph.initializer[0].dims[0] = 5
    return bytes(model.SerializeToString())


def huge_shape() -> bytes:
    model = onnx.load_from_string(wrong_shape())
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    return bytes(model.SerializeToString())


def huge_input() -> bytes:
    return net([node("Relu", "x", "y")], inputs={"x": [1, 1 << 40]}, outputs={"y": [1, 1 << 40]})


def huge_tile() -> bytes:
    constants: dict[str, Array] = {"c": floats(1, 4), "r": np.array([1 << 33])}
    nodes = [node("Tile", "c r", "t"), node("ReduceSum", "t", "s"), node("Add", "x s", "y")]
    return net(nodes, inputs={"x": [1]}, outputs={"y": [1]}, constants=constants)


def sequence_input() -> bytes:
    model = onnx.load_from_string(cyclic())
    del model.graph.node[:]
    model.graph.node.append(node("SequenceLength", "x", "b", name="count"))
    kind = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [1])
    model.graph.input[0].CopyFrom(
        onnx.helper.make_value_info("x", onnx.helper.make_sequence_type_proto(kind))
    )
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("b", onnx.TensorProto.INT64, [])
    )
    return bytes(model.SerializeToString())


def output_twice() -> bytes:
    model = onnx.load_from_string(
        net([node("Relu", "x", "y")], inputs={"x": [4]}, outputs={"y": [4]})
    )
    model.graph.output.append(model.graph.output[0])
    return bytes(model.SerializeToString())


def flat_filter() -> bytes:
    conv = node("Conv", "x w", "y", kernel_shape=[3, 3])
    constants: dict[str, Array] = {"w": floats(1, 72)}
    shapes = {"x": [1, 2, 8, 8]}
    return net([conv], inputs=shapes, outputs={"y": [1, 72, 6, 6]}, constants=constants)


def bias_of_another_shape() -> bytes:
    constants: dict[str, Array] = {
        "w": floats(1, 4, 2, 3, 3),
        "b": floats(2, 25, 10),
        "c": floats(3, 4, 1, 1),
    }
    nodes = [node("Conv", "x w b", "y"), node("Add", "y c", "z")]
    shapes = {"x": [1, 2, 8, 8]}
    return net(nodes, inputs=shapes, outputs={"z": [1, 4, 6, 6]}, constants=constants)


def hundred_axes() -> bytes:
    axes = [1] * 100
    return net([node("Relu", "x", "y")], inputs={"x": axes}, outputs={"y": axes})


def impossible_reshape() -> bytes:
    constants: dict[str, Array] = {"s": np.array([1, 255])}
    nodes = [node("Relu", "x", "r"), node("Reshape", "r s", "y")]
    shapes = {"x": [1, 4, 8, 8]}
    return net(nodes, inputs=shapes, outputs={"y": [1, 255]}, constants=constants)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (cyclic, "sorted|cycle|not output of any"),
        (twice_made, "SSA|[Dd]uplicate"),
        (wrong_shape, "tensor name: w"),
        (huge_shape, "."),
        (huge_input, "too large to run"),
        (huge_tile, "too large to run|shapes do not fit"),
        (sequence_input, "no tensor"),
        (output_twice, "'y' more than once"),
        (flat_filter, "the model is damaged"),
        (impossible_reshape, r"makes \[1, 255\] of \[1, 4, 8, 8\]"),
        (hundred_axes, "100 axes: too many"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_absurd_model_is_refused_in_one_sentence(make: Callable[[], bytes], words: str) -> None:
    with pytest.raises(ConversionError, match=words) as refusal:
        import_model(make())
    assert "\n" not in str(refusal.value)


def test_bias_of_another_shape_is_left_to_the_runtime_to_refuse(tmp_path: Path) -> None:
    with one_sentence():
        import_model(bias_of_another_shape())
    (tmp_path / "m.onnx").write_bytes(bias_of_another_shape())

    origin = open_origin("m.onnx", tmp_path, source_format=None, shapes={})

    with pytest.raises(ConversionError, match="fails on a sample"):
        origin.reference.run({"x": floats(1, 1, 2, 8, 8)})


def test_a_runtimes_reason_comes_without_its_source_lines() -> None:
    data = net([node("LRN", "x", "y", size=4)], inputs={"x": [1, 2]}, outputs={"y": [1, 2]})

    with pytest.raises(ConversionError, match="size_ % 2 == 1 was false") as refusal:
        OrtModel(data)
    assert "onnxruntime_src" not in str(refusal.value)


def test_file_too_large_to_read_is_refused_unread(tmp_path: Path) -> None:
    for name in ("m.onnx", "m.tflite"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2 << 30)  # sparse: takes no room

        with pytest.raises(ConversionError, match="more than the limit"):
            open_origin(name, tmp_path, source_format=None, shapes={})
    with pytest.raises(ConversionError, match="more than the limit"):
        read_model(tmp_path / "m.onnx")


@st.composite
def random_net(draw: st.DrawFn) -> bytes:
    """Return a chain of layers on a small image, with a residual sum now and then."""
    constants: dict[str, Array] = {}
    nodes: list[onnx.NodeProto] = []
    channels, last = 4, "x"
    for number in range(draw(st.integers(1, 6))):
        kind = draw(
            st.sampled_from(["conv", "depthwise", "pool", "act", "add", "resize", "concat", "pad"])
        )
        made = f"t{number}"
        if kind in ("conv", "depthwise"):
            size = draw(st.sampled_from([1, 3]))
            stride = draw(st.sampled_from([1, 2]))
            group = channels if kind == "depthwise" else 1
            width = channels if kind == "depthwise" else draw(st.sampled_from([2, 4, 5]))
            constants[f"w{number}"] = floats(number, width, channels // group, size, size)
            pads = draw(st.sampled_from([[size // 2] * 4, [0, 0, size // 2, size // 2]]))
            nodes.append(
                node(
                    "Conv", f"{last} w{number}", made, group=group, strides=[stride] * 2, pads=pads
                )
            )
            channels = width
        elif kind == "pool":
            op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            nodes.append(node(op, last, made, kernel_shape=[2, 2], pads=[0, 0, 1, 1]))
        elif kind == "act":
            op = draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu"]))
            nodes.append(node(op, last, made))
        elif kind == "add":
            constants[f"c{number}"] = floats(50 + number, channels, 1, 1)
            nodes += [
                node("Mul", f"{last} c{number}", f"{made}m"),
                node("Add", f"{last} {made}m", made),
            ]
        elif kind == "resize":
            constants[f"s{number}"] = np.array([1, 1, 2, 2], np.float32)
            nodes.append(
                node(
                    "Resize",
                    f"{last} roi s{number}",
                    made,
                    mode="nearest",
                    coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor",
                )
            )
            constants["roi"] = np.zeros(0, np.float32)
        elif kind == "concat":
            nodes.append(node("Concat", f"{last} {last}", made, axis=1))
            channels *= 2
        else:
            constants[f"p{number}"] = np.array([0, 0, 1, 0, 0, 0, 0, 2])
            nodes.append(node("Pad", f"{last} p{number}", made))
        last = made
    nodes += [
        node("GlobalAveragePool", last, "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f wd", "d"),
        node("Softmax", "d", "y"),
    ]
    constants["wd"] = floats(99, channels, 3)
    return net(nodes, inputs={"x": [1, 4, 8, 8]}, outputs={"y": [1, 3]}, constants=constants)


@settings(FEW, max_examples=25)
@given(random_net())
def test_lowered_and_imported_again_computes_the_same(data: bytes) -> None:
    graph = import_model(data)
    imported = import_tflite(parse_tflite(lower_to_tflite(graph).data, "net.tflite")).graph

    again = import_model(serialize(imported))

    sample = floats(5, 1, 4, 8, 8)
    (before,) = OrtModel(serialize(graph)).run({"x": sample}).values()
    (after,) = OrtModel(serialize(again)).run({"x": sample.transpose(0, 2, 3, 1)}).values()
    assert after == pytest.approx(before, abs=1e-5)
    lowered = lower_to_tflite(again, image_layout="nhwc").data
    twice = import_tflite(parse_tflite(lowered, "net.tflite")).graph
    assert [n.op for n in twice.nodes].count("Conv") == [n.op for n in graph.nodes].count("Conv")


def test_open_bytes_agrees_with_the_runtime(tmp_path: Path) -> None:
    origin = open_bytes(whole("hybrid"), tmp_path)

    assert difference(origin, [{"x": floats(3, 1, 9, 9, 3)}]) <= 1e-5
