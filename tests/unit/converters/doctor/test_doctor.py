"""The doctor finds what is planted, repairs what it says it repairs, and touches no input."""

import json
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.arrays import Array
from converters.doctor.examination import examine
from converters.doctor.findings import RULES, table
from converters.doctor.repair import repair
from converters.importing.importer import import_model
from converters.importing.tflite.file import parse_tflite
from converters.importing.tflite.trial import try_out
from converters.quant.plan import Grid
from converters.tflite.catalog import lower_to_tflite
from converters.tflite.rewriter import TfliteRewriter
from converters.tflite.schema import FlatModel
from edgeops.cli import main
from edgeops.errors import ConversionError, StorageError, UsageError
from tests.unit.converters.nets import conv_net, floats, net, node

ROOT = Path(__file__).resolve().parents[4]
INT8 = np.dtype(np.int8)
SCALE = 0.02


def dense_int8(*, bias_axis: int = 0, zero_rows: int = 0) -> bytes:
    """Return a quantized dense layer with scales per channel."""
    model = FlatModel()
    x = model.tensor("x", (1, 6), INT8, Grid(scale=(0.1,), zero_point=(0,)))
    y = model.tensor("y", (1, 4), INT8, Grid(scale=(0.5,), zero_point=(0,)))
    weights = np.clip(floats(1, 4, 6, scale=60), -127, 127).astype(np.int8)
    weights[:zero_rows] = 0
    grid = Grid(scale=(SCALE,) * 4, zero_point=(0,) * 4, axis=0)
    w = model.constant("w", weights, grid)
    bias_grid = Grid(scale=(SCALE * 0.1,) * 4, zero_point=(0,) * 4, axis=bias_axis)
    b = model.constant("b", np.arange(4, dtype=np.int32), bias_grid)
    model.operator("FULLY_CONNECTED", 4, [x, w, b], [y], ("FullyConnectedOptions", {}))
    return model.finish({"x": x}, {"y": y})


def zero_scale() -> bytes:
    return dense_int8().replace(np.float32(SCALE).tobytes(), np.float32(0).tobytes())


def repeated_points() -> bytes:
    """Return the dense layer as other writers store it: zero points anew for every tensor."""
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(dense_int8(), 0))
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def without_signature() -> bytes:
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(dense_int8(), 0))
    file.signatureDefs = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def too_many_scales() -> bytes:
    model = FlatModel()
    x = model.tensor("x", (1, 6), INT8, Grid(scale=(0.1,), zero_point=(0,)))
    y = model.tensor("y", (1, 6), INT8, Grid(scale=(0.1,), zero_point=(0,)))
    grid = Grid(scale=(SCALE,) * 5, zero_point=(0,) * 5, axis=0)
    c = model.constant("c", np.ones((1, 6), np.int8), grid)
    model.operator("ADD", 2, [x, c], [y], ("AddOptions", {}))
    return model.finish({"x": x}, {"y": y})


def float_tflite() -> bytes:
    return lower_to_tflite(import_model(conv_net())).data


def too_new() -> bytes:
    rewriter = TfliteRewriter(dense_int8())
    rewriter.set_versions({"FULLY_CONNECTED": 12})
    return rewriter.finish()


def custom() -> bytes:
    model = FlatModel()
    x = model.tensor("x", (1, 6), np.dtype(np.float32), None)
    y = model.tensor("y", (1, 6), np.dtype(np.float32), None)
    model.operator("CUSTOM", 1, [x], [y], None)
    return model.finish({"x": x}, {"y": y})


def not_finite() -> bytes:
    rewriter = TfliteRewriter(float_tflite())
    graph = parse_tflite(float_tflite(), "net").graphs[0]
    place = next(i for i, t in enumerate(graph.tensors) if t.data is not None and len(t.shape) == 4)
    value = graph.tensors[place].value()
    assert value is not None
    rewriter.set_constant(place, np.full(value.shape, np.nan, np.float32))
    return rewriter.finish()


def onnx_file(opset: int = 17, **parts: object) -> bytes:
    constants: dict[str, Array] = {"w": floats(1, 4, 3, 3, 3)}
    constants |= {f"c{i}": np.abs(floats(i, 4)) for i in range(4)}
    nodes = [
        node("Conv", "x w", "c", name="conv"),
        node("BatchNormalization", "c c0 c1 c2 c3", "y", name="norm"),
    ]
    for key, value in parts.items():
        if key == "weights" and isinstance(value, np.ndarray):
            constants["w"] = value
        if key == "name" and isinstance(value, str):
            nodes[0].name = nodes[1].name = value
    shape: list[int | str] = ["n" if parts.get("open") else 1, 3, 6, 6]
    outputs: list[int | str] = [shape[0], 4, 4, 4]
    return net(nodes, inputs={"x": shape}, outputs={"y": outputs}, constants=constants, opset=opset)


def newest_onnx() -> bytes:
    model = onnx.load_from_string(onnx_file())
    model.ir_version = onnx.IR_VERSION
    model.opset_import[0].version = onnx.defs.onnx_opset_version()
    return bytes(model.SerializeToString())


def qdq(kind: type[np.generic], *, per_channel: bool = False, opset: int = 17) -> bytes:
    """Return an activation and a weight through quantize and dequantize."""
    scales = np.full(4 if per_channel else (), 0.1, np.float32)
    constants: dict[str, Array] = {
        "s": np.asarray(0.1, np.float32),
        "z": np.asarray(0, kind),
        "ws": scales,
        "wz": np.zeros(scales.shape, np.int8),
        "w": np.ones((4, 3), np.int8),
    }
    axis = {"axis": 0} if per_channel else {}
    nodes = [
        node("QuantizeLinear", "x s z", "q", name="q"),
        node("DequantizeLinear", "q s z", "d", name="d"),
        node("DequantizeLinear", "w ws wz", "f", name="f", **axis),
        node("Gemm", "d f", "y", name="g", transB=1),
    ]
    return net(nodes, inputs={"x": [1, 3]}, outputs={"y": [1, 4]}, constants=constants, opset=opset)


def with_branch() -> bytes:
    value = onnx.numpy_helper.from_array(np.ones(1, np.float32), "one")
    output = onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [1])
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["one"], ["b"])], "branch", [], [output], [value]
    )
    nodes = [
        node("Cast", "x", "t", name="t", to=onnx.TensorProto.BOOL),
        node("If", "t", "y", name="if", then_branch=branch, else_branch=branch),
    ]
    return net(nodes, inputs={"x": [1]}, outputs={"y": [1]})


def classical() -> bytes:
    nodes = [node("Identity", "x", "y", name="i")]
    model = onnx.load_from_string(net(nodes, inputs={"x": [1, 3]}, outputs={"y": [1, 3]}))
    model.graph.node[0].op_type = "Scaler"
    model.graph.node[0].domain = "ai.onnx.ml"
    for name in ("offset", "scale"):
        model.graph.node[0].attribute.append(onnx.helper.make_attribute(name, [1.0]))
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    return bytes(model.SerializeToString())


def wrong_types() -> bytes:
    constants: dict[str, Array] = {"i": np.array([1, 2])}
    nodes = [node("Add", "x i", "y", name="a")]
    return net(nodes, inputs={"x": [2]}, outputs={"y": [2]}, constants=constants)


def half() -> bytes:
    graph = import_model(conv_net())
    return lower_to_tflite(graph, weights="float16").data


def hybrid() -> bytes:
    return lower_to_tflite(import_model(conv_net()), weights="dynamic-int8").data


def open_axis() -> bytes:
    return onnx_file(open=True)


PLANTED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "scale-axis": ("tflite", lambda: dense_int8(bias_axis=3)),
    "bad-scale": ("tflite", zero_scale),
    "no-signature": ("tflite", without_signature),
    "scale-count": ("tflite", too_many_scales),
    "kernel-version": ("tflite", too_new),
    "custom-operator": ("tflite", custom),
    "hybrid": ("tflite", hybrid),
    "zero-points": ("tflite", repeated_points),
    "quantized": ("tflite", dense_int8),
    "not-finite": ("tflite", not_finite),
    "dead-channels": ("tflite", lambda: dense_int8(zero_rows=2)),
    "half-precision": ("tflite", half),
    "old-opset": ("onnx", lambda: onnx_file(opset=11)),
    "too-new": ("onnx", newest_onnx),
    "runtime-refuses": ("onnx", wrong_types),
    "unnamed-nodes": ("onnx", lambda: onnx_file(name="")),
    "channel-scales-too-early": ("onnx", lambda: qdq(np.uint8, per_channel=True, opset=12)),
    "s8s8": ("onnx", lambda: qdq(np.int8)),
    "batchnorm": ("onnx", onnx_file),
    "control-flow": ("onnx", with_branch),
    "other-domain": ("onnx", classical),
    "open-shape": ("onnx", open_axis),
}


def write(folder: Path, suffix: str, data: bytes) -> Path:
    path = folder / f"model.{suffix}"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("rule", sorted(PLANTED))
def test_what_is_planted_is_found(rule: str, tmp_path: Path) -> None:
    suffix, make = PLANTED[rule]

    examined = examine(write(tmp_path, suffix, make()))

    assert rule in {found.rule for found in examined.findings}
    assert examined.healthy == all(f.severity == "note" for f in examined.findings)


def test_every_rule_has_a_planted_file() -> None:
    assert set(PLANTED) == set(RULES)


def test_healthy_files_have_no_findings(tmp_path: Path) -> None:
    clean = net([node("Relu", "x", "y", name="r")], inputs={"x": [1, 4]}, outputs={"y": [1, 4]})

    assert examine(write(tmp_path, "tflite", float_tflite())).findings == ()
    assert examine(write(tmp_path, "onnx", clean)).findings == ()


@pytest.mark.parametrize(
    "rule",
    [
        "kernel-version",
        "scale-axis",
        "zero-points",
        "no-signature",
        "too-new",
        "old-opset",
        "unnamed-nodes",
    ],
)
def test_repaired_copy_runs_and_lost_the_finding(rule: str, tmp_path: Path) -> None:
    suffix, make = PLANTED[rule]
    path = write(tmp_path, suffix, make())
    before = path.read_bytes()
    out = tmp_path / f"repaired.{suffix}"

    done = repair(examine(path), out, force=False)

    assert rule in done.rules
    assert done.compared == (rule not in ("scale-axis", "too-new"))
    assert rule not in {found.rule for found in examine(out).findings}
    assert path.read_bytes() == before
    again = tmp_path / f"again.{suffix}"
    repair(examine(path), again, force=False)
    assert again.read_bytes() == out.read_bytes(), "the same input gives the same bytes"


def test_repair_replaces_nothing_unasked(tmp_path: Path) -> None:
    path = write(tmp_path, "onnx", onnx_file(opset=11))
    out = tmp_path / "out.onnx"
    out.write_bytes(b"precious")

    with pytest.raises(UsageError, match="exists already"):
        repair(examine(path), out, force=False)
    with pytest.raises(UsageError, match="never the input"):
        repair(examine(path), path, force=True)
    assert out.read_bytes() == b"precious"
    repair(examine(path), out, force=True)
    assert out.read_bytes() != b"precious"


def test_nothing_to_repair_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "tflite", float_tflite())

    with pytest.raises(UsageError, match="nothing that can be repaired"):
        repair(examine(path), tmp_path / "out.tflite", force=False)


def test_page_holds_the_catalogue() -> None:
    assert table() in (ROOT / "docs/reference/doctor.md").read_text()


def test_command_tells_findings_by_status_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sick = write(tmp_path, "onnx", onnx_file(opset=11))
    well = write(tmp_path, "tflite", float_tflite())

    assert main(["model", "doctor", str(well)]) == 0
    assert main(["model", "doctor", str(sick), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["healthy"]
    assert {entry["rule"] for entry in found["findings"]} == {"old-opset", "batchnorm"}
    repaired = tmp_path / "repaired.onnx"
    assert main(["model", "doctor", str(sick), "--repair", str(repaired)]) == 0
    assert "answers as the original does" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suffix", "make", "expected"),
    [
        ("onnx", onnx_file, (16 * 4 * 27, "float")),
        ("tflite", dense_int8, (24, "quantized")),
        ("onnx", with_branch, (None, "float")),
    ],
)
def test_show_counts_work(
    suffix: str,
    make: Callable[[], bytes],
    expected: tuple[int | None, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path, suffix, make())

    assert main(["model", "show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)

    assert (shown.get("macs"), shown["numbers"]) == expected
    assert shown["inputs"][0]["name"] == "x"
    assert main(["model", "show", str(path)]) == 0
    assert "input 'x'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("m.onnx", b"", ConversionError),
        ("m.onnx", b"text, not a model", ConversionError),
        ("m.tflite", b"", ConversionError),
        ("m.tflite", b"\x20\0\0\0TFL3" + b"\xff" * 64, ConversionError),
        ("m.png", b"", UsageError),
        ("missing.onnx", None, StorageError),
        ("missing.tflite", None, StorageError),
    ],
)
def test_what_is_no_model_ends_in_one_sentence(
    name: str, data: bytes | None, fault: type[Exception], tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)

    with pytest.raises(fault):
        examine(tmp_path / name)


def test_trial_survives_what_the_runtime_does_not(tmp_path: Path) -> None:
    path = tmp_path / "custom.tflite"
    path.write_bytes(custom())

    with pytest.raises(ConversionError, match="the TFLite runtime refuses it"):
        try_out(path, "custom.tflite")
