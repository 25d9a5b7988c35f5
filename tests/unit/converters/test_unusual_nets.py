"""Legal but unusual nets: every file computes what the plan says and stays near float."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.helper
import pytest

from converters.arrays import Array, Feeds, as_floats
from converters.calibration import calibrate
from converters.importing.importer import import_model
from converters.importing.tflite.file import parse_tflite
from converters.ort import OrtModel
from converters.quant.plan import ActivationForm
from converters.quant.planner import plan_quantization
from converters.quant.simulate import Simulation
from converters.quant.write_onnx import write_onnx_int8
from converters.quant.write_weights import write_onnx_float16
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.run import LiteRtModel
from edgeops.errors import ConversionError
from tests.unit.converters.nets import feeds, floats, net, node

SHAPE = (1, 4, 8, 8)


def agree(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    *,
    shape: Sequence[int] = SHAPE,
    outputs: Sequence[str] = ("y",),
    form: ActivationForm = "int8",
    tflite: bool = True,
) -> None:
    """Hold every runtime against the simulation, and that against float, output by output."""
    sizes = {name: [f"{name}{axis}" for axis in range(len(shape))] for name in outputs}
    data = net(nodes, inputs={"x": shape}, outputs=sizes, constants=constants)
    samples: list[Feeds] = feeds("x", *shape, count=3)
    graph, real = import_model(data), OrtModel(data)
    ranges = calibrate(graph, lambda: samples).ranges
    plan = plan_quantization(graph, ranges, activations=form, integer_tail=True)
    simulation = Simulation(graph, plan)
    files: list[OrtModel | LiteRtModel] = []
    if form == "int8":
        files += [OrtModel(write_onnx_int8(graph, plan), optimize=on) for on in (True, False)]
    if tflite:
        lowered = lower_to_tflite(graph, plan)
        files += [LiteRtModel(lowered, delegate=on) for on in (True, False)]

    for sample in samples:
        wanted, exact = real.run(sample), simulation.run(sample)
        for name in outputs:
            reach = float(np.abs(as_floats(wanted[name])).max())
            step = plan.tensors[name].scale[0] if name in plan.tensors else reach / 255
            assert exact[name] == pytest.approx(wanted[name], abs=max(0.06 * reach, 1.6 * step))
            for file in files:
                found = file.run(sample)[name]
                assert found == pytest.approx(exact[name], abs=2.01 * max(step, reach / 2**15))


@pytest.mark.parametrize("form", ["int8", "int16"])
@pytest.mark.parametrize("bias", [5.0, 1e5])
def test_channel_without_weights_keeps_its_bias(form: ActivationForm, bias: float) -> None:
    weights, offsets = floats(1, 4, 4, 3, 3, scale=0.2), floats(2, 4)
    weights[1], offsets[1] = 0, bias

    agree([node("Conv", "x w b", "y")], {"w": weights, "b": offsets}, form=form)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_sixteen_bits_keep_the_biases_of_a_layer_without_weights(op: str) -> None:
    agree(
        [node(op, "x w b", "y")],
        {"w": np.zeros((4, 4, 3, 3), np.float32), "b": floats(2, 4)},
        form="int16",
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 1], "auto_pad": "VALID"},
        {"strides": [2, 2], "output_shape": [15, 16]},
        {"strides": [2, 2], "output_shape": [15, 14], "auto_pad": "SAME_UPPER"},
    ],
    ids=str,
)  # fmt: skip
def test_transposed_convolutions_that_state_a_size(attributes: dict[str, object]) -> None:
    layer = onnx.helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)

    agree([layer], {"w": floats(1, 4, 5, 3, 3, scale=0.3), "b": floats(2, 5)})


def test_dilated_transposed_convolution_is_simulated_as_it_is() -> None:
    layer = node("ConvTranspose", "x w b", "y", strides=[2, 1], dilations=[2, 3], pads=[1, 0, 0, 2])

    agree([layer], {"w": floats(1, 4, 5, 3, 2, scale=0.3), "b": floats(2, 5)}, tflite=False)


@pytest.mark.parametrize("shape", [(1, 4, 8, 1), (1, 4, 1, 8)])
def test_softmax_over_one_element_is_one(shape: tuple[int, ...]) -> None:
    nodes = [
        node("Conv", "x w b", "c"),
        node("Softmax", "c", "y", axis=shape.index(1, 1)),
        node("Conv", "y w b", "z"),
    ]

    agree(nodes, {"w": floats(1, 4, 4, 1, 1), "b": floats(2, 4)}, shape=shape, outputs="yz")


def test_steps_of_a_gate_take_no_other_node_s_name() -> None:
    nodes = [
        node("Conv", "x w b", "c", name="first"),
        node("HardSwish", "c", "h", name="act"),
        node("Erf", "h", "e", name="act_mul"),
        node("Conv", "e w b", "y", name="act_add"),
    ]

    agree(nodes, {"w": floats(1, 4, 4, 1, 1), "b": floats(2, 4)}, outputs=("h", "y"))


@pytest.mark.parametrize("size", [1.0, 100.0, 300.0, 3000.0])
@pytest.mark.parametrize("op", ["HardSwish", "HardSigmoid"])
def test_gates_of_large_numbers(op: str, size: float) -> None:
    weights = as_floats(floats(3, 4, 4, 3, 3, scale=0.2) * np.float32(size))
    nodes = [node("Conv", "x w b", "c"), node(op, "c", "y")]
    if op == "HardSwish":
        agree(nodes, {"w": weights, "b": floats(4, 4)})
        return
    # A step of its input may be the whole way from 0 to 1: only the files can be compared.
    graph = import_model(
        net(
            nodes,
            inputs={"x": SHAPE},
            outputs={"y": list("abcd")},
            constants={"w": weights, "b": floats(4, 4)},
        )
    )
    samples = feeds("x", *SHAPE, count=3)
    ranges = calibrate(graph, lambda: samples).ranges
    plan = plan_quantization(graph, ranges, integer_tail=True)
    exact, found = Simulation(graph, plan), LiteRtModel(lower_to_tflite(graph, plan))
    for sample in samples:
        apart = np.abs(as_floats(exact.run(sample)["y"]) - as_floats(found.run(sample)["y"]))
        assert np.mean(apart > 0.01) < 0.02


@pytest.mark.parametrize("name", ["x_quantize", "c_real_dequantize", "w_dequantize", "n_mul"])
def test_nodes_called_as_the_converter_would_call_its_own(name: str) -> None:
    nodes = [
        node("BatchNormalization", "x one b m one", "n", name="n"),
        node("Conv", "n w b", "c", name="first"),
        node("Relu", "c", "r", name=name),
        node("Conv", "r w b", "y", name="last"),
    ]
    constants: dict[str, Array] = {
        "w": floats(1, 4, 4, 1, 1),
        "b": floats(2, 4),
        "m": floats(3, 4),
        "one": np.ones(4, np.float32),
    }

    agree(nodes, constants, outputs=("c", "y"))


def test_one_slope_for_all_channels_is_stored_for_each() -> None:
    constants: dict[str, Array] = {"w": floats(1, 8, 4, 1, 1), "s": np.asarray([0.25], np.float32)}
    nodes = [node("Conv", "x w", "c"), node("PRelu", "c s", "y")]
    data = net(nodes, inputs={"x": SHAPE}, outputs={"y": list("abcd")}, constants=constants)

    file = parse_tflite(lower_to_tflite(import_model(data)).data, "net").graphs[0]

    slopes = next(one for one in file.operators if one.code == "PRELU").inputs[1]
    assert file.tensors[slopes].shape == (1, 1, 1, 8)
    agree(nodes, constants)


def test_output_that_became_a_constant_takes_no_other_tensor_s_name() -> None:
    nodes = [
        node("Relu", "k", "y"),
        node("Add", "x y_constant", "z"),
    ]
    constants: dict[str, Array] = {"k": floats(1, *SHAPE), "y_constant": floats(2, *SHAPE)}

    agree(nodes, constants, outputs=("y", "z"))


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_comparison_with_large_numbers_leaves_the_input_its_grid(op: str) -> None:
    nodes = [node("Conv", "x w b", "c"), node(op, "c x", "y"), node("Conv", "x v b", "z")]
    constants: dict[str, Array] = {
        "w": floats(1, 4, 4, 1, 1, scale=1e4),
        "v": floats(2, 4, 4, 1, 1, scale=0.5),
        "b": floats(3, 4),
    }

    agree(nodes, constants, outputs=("y", "z"))


def test_comparison_with_a_small_constant_has_small_steps() -> None:
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Min", "r k", "y")]
    constants: dict[str, Array] = {
        "w": floats(1, 4, 4, 1, 1, scale=5),
        "k": np.asarray(0.05, np.float32),
    }
    data = net(nodes, inputs={"x": SHAPE}, outputs={"y": list("abcd")}, constants=constants)
    graph, samples = import_model(data), feeds("x", *SHAPE, count=3)
    ranges = calibrate(graph, lambda: samples).ranges
    plan = plan_quantization(graph, ranges, integer_tail=True)
    exact, found = Simulation(graph, plan), LiteRtModel(lower_to_tflite(graph, plan))

    assert plan.tensors["y"].scale[0] < plan.tensors["r"].scale[0] / 50
    for sample in samples:
        apart = np.abs(as_floats(exact.run(sample)["y"]) - as_floats(found.run(sample)["y"]))
        assert np.mean(apart > 1e-3) < 0.02  # a step of what comes in is all that is left


@pytest.mark.parametrize("op", ["Mul", "HardSwish"])
def test_large_negative_numbers_behind_an_activation_stay_small(op: str) -> None:
    """Portable kernels cut off at 16 bits what lies far outside of the output's grid."""
    nodes = [
        node("Conv", "x w b", "c"),
        node(op, "c k" if op == "Mul" else "c", "m"),
        node("Relu", "m", "y"),
    ]
    constants: dict[str, Array] = {
        "w": floats(1, 4, 4, 1, 1, scale=1e-5),
        "b": np.asarray([-2, -2.5, -1, -2], np.float32),
    }
    if op == "Mul":
        constants["k"] = np.abs(floats(2, *SHAPE)) + np.float32(0.5)

    agree(nodes, constants)


def test_gate_of_a_silu_keeps_its_fixed_steps() -> None:
    nodes = [
        node("Conv", "x w b", "c"),
        node("Sigmoid", "c", "s"),
        node("Mul", "c s", "y"),
        node("Conv", "y w b", "z"),
    ]
    constants: dict[str, Array] = {"w": floats(1, 4, 4, 1, 1), "b": floats(2, 4)}
    data = net(nodes, inputs={"x": SHAPE}, outputs={"z": list("abcd")}, constants=constants)
    graph, samples = import_model(data), feeds("x", *SHAPE, count=3)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)

    assert not plan.islands
    assert (plan.tensors["s"].scale, plan.tensors["s"].zero_point) == ((1 / 256,), (-128,))
    agree(nodes, constants, outputs="csyz")


def test_outputs_that_are_inputs_of_others_or_each_other() -> None:
    nodes = [
        node("Conv", "x w b", "c", pads=[1] * 4),
        node("Relu", "c", "r"),
        node("Identity", "c", "again"),
        node("Transpose", "r", "t", perm=[0, 1, 3, 2]),
        node("Concat", "t k", "j", axis=1),
        node("Conv", "j v b", "y"),
    ]
    constants: dict[str, Array] = {
        "w": floats(1, 4, 4, 3, 3, scale=0.3),
        "v": floats(3, 4, 6, 1, 1, scale=0.3),
        "b": floats(2, 4),
        "k": floats(4, 1, 2, 8, 8),
    }

    agree(nodes, constants, outputs=["c", "r", "again", "t", "j", "y", "x"])


def test_layer_that_answered_nothing_in_calibration_has_a_sound_step() -> None:
    nodes = [node("Conv", "x w b", "c"), node("Relu", "c", "y")]
    constants: dict[str, Array] = {
        "w": floats(1, 4, 4, 1, 1, scale=5),
        "b": np.full(4, -100, np.float32),
    }
    data = net(nodes, inputs={"x": SHAPE}, outputs={"y": list("abcd")}, constants=constants)
    graph, samples = import_model(data), feeds("x", *SHAPE, count=3)
    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)

    largest = plan.tensors["x"].scale[0] * max(plan.tensors["w"].scale)

    assert plan.tensors["y"].scale[0] >= largest / 256  # kernels refuse finer ones
    agree(nodes, constants)


def test_node_that_no_integer_layer_touches_stays_float() -> None:
    nodes = [
        node("Mul", "x k", "m", name="lonely"),
        node("Sin", "m", "s"),
        node("Conv", "s w", "y"),
    ]
    constants: dict[str, Array] = {"w": floats(1, 4, 4, 1, 1), "k": floats(2, 1, 4, 1, 1)}
    data = net(nodes, inputs={"x": SHAPE}, outputs={"y": list("abcd")}, constants=constants)
    graph, samples = import_model(data), feeds("x", *SHAPE, count=2)

    plan = plan_quantization(graph, calibrate(graph, lambda: samples).ranges)

    assert plan.islands["lonely"] == "no integer layer touches it"
    assert "x" not in plan.tensors


def test_weights_too_large_for_half_precision_are_refused() -> None:
    constants: dict[str, Array] = {"w": np.full((4, 4, 1, 1), 7e4, np.float32)}
    layer = node("Conv", "x w", "y")
    graph = import_model(
        net([layer], inputs={"x": SHAPE}, outputs={"y": list("abcd")}, constants=constants)
    )

    with pytest.raises(ConversionError, match="too large for float16"):
        lower_to_tflite(graph, weights="float16")
    with pytest.raises(ConversionError, match="too large for float16"):
        write_onnx_float16(graph)


def test_edges_of_sixteen_bit_files_stay_float() -> None:
    constants: dict[str, Array] = {"w": floats(1, 4, 4, 1, 1)}
    layer = node("Conv", "x w", "y")
    graph = import_model(
        net([layer], inputs={"x": SHAPE}, outputs={"y": list("abcd")}, constants=constants)
    )
    samples = feeds("x", *SHAPE, count=2)
    ranges = calibrate(graph, lambda: samples).ranges
    plan = plan_quantization(graph, ranges, activations="int16")

    for io in ("int8", "uint8"):
        file = parse_tflite(lower_to_tflite(graph, plan, io=io).data, "net").graphs[0]
        assert {file.tensors[i].kind for i in (*file.inputs, *file.outputs)} == {"float32"}


def test_dilated_depthwise_layers_have_the_version_that_knows_dilation() -> None:
    constants: dict[str, Array] = {"w": floats(1, 4, 1, 3, 3)}
    layer = node("Conv", "x w", "y", group=4, dilations=[2, 2])
    graph = import_model(
        net([layer], inputs={"x": SHAPE}, outputs={"y": list("abcd")}, constants=constants)
    )

    file = parse_tflite(lower_to_tflite(graph).data, "net").graphs[0]

    assert [(one.code, one.version) for one in file.operators][:1] == [("DEPTHWISE_CONV_2D", 2)]
