"""From recipe to bundle and back: verdicts, exit statuses, the same bytes every time."""

import json
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Array
from converters.exam import npz_bytes
from converters.flags import Flags, overlay
from converters.recipe import load_recipe
from converters.targets import target_of
from edgeops import cli
from edgeops.bundle import open_folder, unpack, verify
from edgeops.errors import ContractError, UsageError
from edgeops.inference.model import Model
from edgeops.trust import SigningKey, TrustStore
from tests.unit.converters.nets import floats, net, node

RECIPE = """
model: colours.onnx
name: colours
version: 1.2.3
task: {type: classification, labels: [red, green, blue]}
input: {layout: nchw, preprocess: [{scale: 0.00392156862745098}]}
calibration: {data: calibration.npz, samples: 20, seed: 1}
evaluation: {data: evaluation.npz, metric: top1, max_drop: 0.02}
outputs:
  - {runtime: tflite, precision: int8}
  - {runtime: onnx, precision: int8}
  - {runtime: onnx, precision: float32}
"""


def colour_model(*, warped: bool = False) -> bytes:
    """Return a net whose classes are the strongest of three colours in an 8x8 image.

    ``warped`` begins with an operator that moves no pixel and that TFLite does not have.
    """
    mixing = np.zeros((3, 3, 3, 3), np.float32)
    mixing[np.arange(3), np.arange(3), 1, 1] = 4.0
    constants: dict[str, Array] = {
        "w": mixing + floats(1, 3, 3, 3, 3, scale=0.02),
        "b": np.zeros(3, np.float32),
        "v": np.eye(3, dtype=np.float32),
    }
    look = node("Conv", "x w b", "c", name="look", pads=[1, 1, 1, 1])
    first = [look]
    if warped:
        lines = np.linspace(-1.0, 1.0, 8, dtype=np.float32)
        constants["grid"] = np.stack(np.meshgrid(lines, lines), axis=-1)[None]
        look.input[0] = "g"
        first.insert(0, node("GridSample", "x grid", "g", name="warp", align_corners=1))
    nodes = [
        *first,
        node("Relu", "c", "r", name="cut"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("MatMul", "f v", "m", name="vote"),
        node("Softmax", "m", "y", name="last"),
    ]
    return net(nodes, inputs={"x": ["N", 3, 8, 8]}, outputs={"y": ["N", 3]}, constants=constants)


def wide_model() -> bytes:
    """Return the same with sixteen channels between, most of which nothing needs."""
    wide = np.zeros((16, 3, 3, 3), np.float32)
    wide[np.arange(3), np.arange(3), 1, 1] = 4.0
    votes = np.zeros((16, 3), np.float32)
    votes[:3] = np.eye(3)
    constants: dict[str, Array] = {
        "w": wide + floats(1, 16, 3, 3, 3, scale=0.02),
        "b": np.zeros(16, np.float32),
        "v": votes + floats(2, 16, 3, scale=0.01),
    }
    nodes = [
        node("Conv", "x w b", "c", name="look", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r", name="cut"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("MatMul", "f v", "m", name="vote"),
        node("Softmax", "m", "y"),
    ]
    return net(nodes, inputs={"x": ["N", 3, 8, 8]}, outputs={"y": ["N", 3]}, constants=constants)


def colour_images(seed: int, count: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    images = random.integers(0, 120, (count, 8, 8, 3))
    images[np.arange(count), :, :, truth] += 60
    return {"x": images.astype(np.uint8), "y": truth, "site": (np.arange(count) % 2).astype(str)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with recipe, model and data; the user's own settings are elsewhere."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "colours.onnx").write_bytes(colour_model())
    (tmp_path / "calibration.npz").write_bytes(npz_bytes(colour_images(1, 30)))
    (tmp_path / "evaluation.npz").write_bytes(npz_bytes(colour_images(2, 60)))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main([str(word) for word in words])
    output = capsys.readouterr()
    return status, output.out, output.err


def convert(
    capsys: pytest.CaptureFixture[str], folder: Path, *words: str
) -> tuple[int, dict[str, object]]:
    status, out, err = run(
        capsys,
        "convert",
        "--recipe",
        folder / "recipe.yaml",
        "--out",
        folder / "out",
        "--json",
        *words,
    )
    assert out, err
    record = json.loads(out)
    assert isinstance(record, dict)
    return status, record


def test_recipe_becomes_a_signed_bundle_within_budget(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, record = convert(capsys, folder)

    assert (status, record["verdict"]) == (0, "pass")
    bundle = open_folder(folder / "out" / "colours-1.2.3")
    verify(bundle, None)
    assert record["bundle"] == str(bundle.folder)
    assert record["digest"] == bundle.digest
    assert bundle.manifest.development
    assert [v.id for v in bundle.manifest.variants] == ["tflite-int8", "onnx-int8", "onnx-float32"]
    int8 = bundle.manifest.variants[1]
    assert int8.quantized_macs == 1.0
    assert int8.drop is not None
    assert int8.drop <= 0.02
    assert [v.inputs[0].layout for v in bundle.manifest.variants] == ["nhwc", "nchw", "nchw"]
    variants = record["variants"]
    assert isinstance(variants, list)
    assert variants[0]["partitions"] == 1
    quickest = min(variants, key=lambda variant: variant["latency_ms"]["p50"])
    assert record["fastest"] == f"{quickest['runtime']}-{quickest['precision']}"
    assert bundle.manifest.report is not None
    inside = json.loads(bundle.path(bundle.manifest.report.file).read_bytes())
    beside = json.loads((folder / "out" / "colours-1.2.3.report.json").read_bytes())
    assert inside["verdict"] == beside["verdict"] == "pass"
    assert beside["digest"] == bundle.digest
    assert "<html" in (folder / "out" / "colours-1.2.3.report.html").read_text()
    assert (
        unpack(folder / "out" / "colours-1.2.3.edgeops", folder / "unpacked").digest
        == bundle.digest
    )


def test_bundle_runs_on_the_device_side_and_passes_its_own_exam(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(capsys, folder)
    bundle = open_folder(folder / "out" / "colours-1.2.3")
    assert bundle.manifest.golden is not None
    samples = np.load(bundle.path(bundle.manifest.golden.samples.file))["x"]
    expected = json.loads(bundle.path(bundle.manifest.golden.expected.file).read_bytes())

    for variant in bundle.manifest.variants:
        model = Model.load(bundle, variant)
        answers = [model.predict(sample) for sample in samples]
        model.close()
        wanted = expected["variants"][variant.id]
        assert [a.label for a in answers] == [w["label"] for w in wanted]
        assert len({a.label for a in answers}) == 3


def test_same_input_gives_the_same_bytes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, first = convert(capsys, folder)
    _, second = convert(capsys, folder)

    assert first["digest"] == second["digest"]
    check = (
        "convert",
        "--recipe",
        folder / "recipe.yaml",
        "--check",
        str(first["bundle"]),
        "--json",
    )
    status, out, _ = run(capsys, *check)
    assert status == 0
    assert json.loads(out)["same"] is True


def test_check_names_what_differs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, record = convert(capsys, folder)
    (folder / "calibration.npz").write_bytes(npz_bytes(colour_images(9, 30)))

    status, _, err = run(
        capsys, "convert", "--recipe", folder / "recipe.yaml", "--check", str(record["bundle"])
    )

    assert status == 1
    assert "manifest." in err
    assert " was " in err


def test_budget_that_cannot_be_met_is_refused_and_leaves_the_report_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A constant channel widens the only layer's grid until the colours vanish in one step."""
    weights = np.concatenate([np.eye(3), np.zeros((1, 3))]).reshape(4, 3, 1, 1)
    constants: dict[str, Array] = {
        "w": weights.astype(np.float32),
        "b": np.array([0, 0, 0, 100_000], np.float32),
        "start": np.array([0]),
        "end": np.array([3]),
        "axis": np.array([1]),
    }
    nodes = [
        node("Conv", "x w b", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
        node("Slice", "f start end axis", "s"),
        node("Softmax", "s", "y"),
    ]
    model = net(nodes, inputs={"x": ["N", 3, 8, 8]}, outputs={"y": ["N", 3]}, constants=constants)
    (folder / "colours.onnx").write_bytes(model)

    int8_alone = ("--to", "onnx", "--precision", "int8", "--target", "npu-per-tensor")

    status, record = convert(capsys, folder, *int8_alone)

    assert (status, record["verdict"], record["bundle"]) == (70, "refused", None)
    left = {path.name for path in (folder / "out").iterdir()}
    assert left == {"colours-1.2.3.report.html", "colours-1.2.3.report.json"}
    assert record["report"] == str(folder / "out" / "colours-1.2.3.report.html")
    attempts = record["attempts"]
    assert isinstance(attempts, list)
    assert [attempt["rung"] for attempt in attempts] == [
        "minmax",
        "auto",
        "minmax+bias",
        "minmax+rounded+bias",
    ]


def test_sensitive_layer_is_found_and_kept_float(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One layer's scales follow a weight that only ever meets zeros."""
    spread = np.concatenate([np.eye(3), np.zeros((1, 3))]).reshape(4, 3, 1, 1)
    trap = np.concatenate([np.eye(3), np.full((3, 1), 1000.0)], axis=1).reshape(3, 4, 1, 1)
    constants: dict[str, Array] = {
        "w1": spread.astype(np.float32),
        "w2": trap.astype(np.float32),
        "w3": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
        "w4": np.eye(3, dtype=np.float32) * np.float32(9),
    }
    nodes = [
        node("Conv", "x w1", "a", name="spread"),
        node("Tanh", "a", "t"),  # channels cannot be scaled through it
        node("Conv", "t w2", "b", name="trap"),
        node("Conv", "b w3", "c", name="copy"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
        node("MatMul", "f w4", "m", name="vote"),
        node("Softmax", "m", "y"),
    ]
    model = net(nodes, inputs={"x": ["N", 3, 8, 8]}, outputs={"y": ["N", 3]}, constants=constants)
    (folder / "colours.onnx").write_bytes(model)

    status, record = convert(capsys, folder)

    assert (status, record["verdict"]) == (0, "fallback")
    attempts = record["attempts"]
    assert isinstance(attempts, list)
    assert attempts[-1]["kept_float"] == ["trap"]
    assert attempts[0]["drop"] > 0.3
    manifest = open_folder(folder / "out" / "colours-1.2.3").manifest
    assert "trap" in manifest.variants[0].float_islands
    assert 0 < manifest.variants[0].quantized_macs < 1


def test_pruning_is_recorded_and_rebuilt_byte_for_byte(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "colours.onnx").write_bytes(wide_model())
    recipe = RECIPE.replace("max_drop: 0.02", "max_drop: 0.5")
    (folder / "recipe.yaml").write_text(recipe + "prune: {ratio: 0.4}\n")

    status, record = convert(capsys, folder, "--target", "raspberry-pi-4")

    assert status == 0, record
    report = json.loads((folder / "out" / "colours-1.2.3.report.json").read_bytes())
    before, after = report["pruning"]["channels"]
    assert after < before
    bundle = open_folder(folder / "out" / "colours-1.2.3")
    assert bundle.manifest.recipe["options"]["prune"] == {"ratio": 0.4}
    status, _, err = run(
        capsys, "convert", "--recipe", folder / "recipe.yaml", "--target", "raspberry-pi-4",
        "--check", bundle.folder,
    )  # fmt: skip
    assert status == 0, err


def test_an_update_keeps_the_scales_of_the_release_before_and_names_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, first = convert(capsys, folder)
    update = ("--version", "1.2.4", "--serial", "2", "--samples", "3")
    convert(capsys, folder, *update)
    fresh = open_folder(folder / "out" / "colours-1.2.4").manifest
    keeping = (*update, "--scales-from", str(first["bundle"]))

    status, second = convert(capsys, folder, *keeping)

    assert status == 0
    known = open_folder(folder / "out" / "colours-1.2.3").manifest
    manifest = open_folder(folder / "out" / "colours-1.2.4").manifest
    assert manifest.parents.previous_bundle == first["digest"]
    assert [v.sha256 for v in manifest.variants] == [v.sha256 for v in known.variants], (
        "the same model on the same grids gives the same files"
    )
    assert fresh.variants[0].sha256 != known.variants[0].sha256, "other samples, other scales"
    words = ("convert", "--recipe", folder / "recipe.yaml", *keeping)
    assert run(capsys, *words, "--check", str(second["bundle"]))[0] == 0


def test_the_report_splits_the_metric_by_columns_of_the_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, record = convert(capsys, folder, "--slices", "site", "--to", "onnx")

    assert status == 0
    assert record["verdict"] == "pass"
    page = (folder / "out" / "colours-1.2.3.report.html").read_text()
    assert "site" in page
    manifest = open_folder(folder / "out" / "colours-1.2.3").manifest
    assert manifest.recipe["options"]["evaluation"]["slices"] == ["site"]


def test_microcontrollers_get_integer_edges_and_an_arena(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, record = convert(capsys, folder, "--target", "mcu-tflm", "--to", "tflite")

    assert status == 0, record
    variants = record["variants"]
    assert isinstance(variants, list)
    assert variants[0]["arena_bytes"] >= 8 * 8 * 3 + 8 * 8 * 3
    bundle = open_folder(folder / "out" / "colours-1.2.3")
    (variant,) = bundle.manifest.variants
    assert variant.inputs[0].dtype == variant.outputs[0].dtype == "int8"
    assert variant.inputs[0].scale is not None
    model = Model.load(bundle, variant)
    images = colour_images(3, 9)
    assert [model.predict(image).label for image in images["x"]] == ["red", "green", "blue"] * 3


def test_release_key_signs_without_the_development_mark(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = SigningKey.generate()
    key.save(folder / "release.key", folder / "release.pub")

    convert(capsys, folder, "--key", str(folder / "release.key"))

    bundle = open_folder(folder / "out" / "colours-1.2.3")
    assert not bundle.manifest.development
    assert verify(bundle, TrustStore(release=[key.public])) == key.public.keyid


def test_operator_without_tflite_form_leaves_the_onnx_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "colours.onnx").write_bytes(colour_model(warped=True))

    status, record = convert(capsys, folder)

    assert (status, record["verdict"]) == (0, "fallback")
    refused = record["refused"]
    assert isinstance(refused, list)
    assert "node 'warp' (GridSample)" in refused[0]["reason"]
    assert [(node["node"], node["operator"]) for node in refused[0]["nodes"]] == [
        ("warp", "GridSample")
    ]
    concessions = record["concessions"]
    assert isinstance(concessions, list)
    assert "tflite int8 is not made" in concessions[0]
    bundle = open_folder(folder / "out" / "colours-1.2.3")
    assert [v.id for v in bundle.manifest.variants] == ["onnx-int8", "onnx-float32"]
    assert not (bundle.folder / "models" / "int8.tflite").exists()


def test_calibrating_on_evaluation_samples_warns(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, record = convert(capsys, folder, "--calibration", str(folder / "evaluation.npz"))

    assert record["warnings"] == [
        "20 of 60 evaluation samples were calibrated on: the figures flatter int8"
    ]


def test_int8_without_calibration_data_is_a_usage_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("convert", folder / "colours.onnx", "--out", folder / "out", "--precision", "int8")

    status, _, err = run(capsys, *words)

    assert status == 2
    assert "calibration data" in err


def test_flags_alone_convert_in_all_precisions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(
        capsys, "convert", folder / "colours.onnx", "--out", folder / "out", "--to", "tflite,onnx",
        "--precision", "float32,float16,dynamic-int8", "--labels", "red,green,blue",
    )  # fmt: skip

    assert status == 0, err
    assert "no data given" in err
    assert "verdict: fallback" in out
    assert "onnx dynamic-int8 is not made: dynamic-int8 would change next to nothing" in err
    manifest = open_folder(folder / "out" / "colours-0.1.0").manifest
    assert [variant.id for variant in manifest.variants] == [
        "tflite-float32", "onnx-float32", "tflite-float16", "onnx-float16", "tflite-dynamic-int8",
    ]  # fmt: skip
    assert manifest.golden is None


def test_evaluate_and_benchmark_read_what_convert_wrote(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, made = convert(capsys, folder)
    bundle = folder / "out" / "colours-1.2.3.edgeops"

    status, out, _ = run(
        capsys, "evaluate", bundle, "--data", folder / "evaluation.npz", "--runtime", "onnx",
        "--precision", "int8", "--slices", "site", "--json",
    )  # fmt: skip
    record = json.loads(out)
    assert status == 0
    assert record["samples"] == 60
    variants = made["variants"]
    assert isinstance(variants, list)
    assert record["metrics"]["top1"] == variants[1]["metrics"]["top1"]
    assert set(record["slices"]["site"]) == {"0", "1"}
    assert set(record["per_class"]) == {"red", "green", "blue"}

    status, out, _ = run(capsys, "benchmark", bundle, "--seconds", "0.05", "--json")
    record = json.loads(out)
    assert status == 0
    assert record["threads"] == 1
    assert 0 < record["latency_ms"]["p50"] <= record["latency_ms"]["p95"]
    assert record["peak_rss_bytes"] > 1_000_000


def test_benchmark_times_all_variants_and_marks_the_fastest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(capsys, folder)
    words = ("benchmark", folder / "out" / "colours-1.2.3", "--all", "--seconds", "0.02")

    status, out, _ = run(capsys, *words, "--json")
    record = json.loads(out)
    assert status == 0
    figures = {v["variant"]["file"]: v["latency_ms"]["p50"] for v in record["variants"]}
    assert set(figures) == {"models/int8.tflite", "models/int8.onnx", "models/float32.onnx"}
    assert record["fastest"] == min(figures, key=lambda name: figures[name])

    assert run(capsys, *words)[1].count("* ") == 1
    assert run(capsys, *words, "--runtime", "onnx")[0] == 2
    assert run(capsys, "benchmark", folder / "colours.onnx", "--all")[0] == 2


def test_bare_model_is_evaluated_by_its_recipe(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", folder / "colours.onnx", "--data", folder / "evaluation.npz", "--json")

    status, _, err = run(capsys, *words)
    assert status == 2
    assert "--recipe" in err

    status, out, _ = run(capsys, *words, "--recipe", folder / "recipe.yaml")
    assert status == 0
    assert json.loads(out)["metrics"]["top1"] > 0.9


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("convert", "none.onnx", "--out", "o"), 74),
        (("convert", "--out", "o"), 2),
        (("convert", "--recipe", "none.yaml", "--out", "o"), 74),
        (("benchmark", "none.edgeops"), 74),
    ],
)
def test_exit_statuses(
    words: tuple[str, ...],
    status: int,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)

    assert run(capsys, *words)[0] == status


def test_recipe_faults_are_listed_with_their_lines(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(
        RECIPE.replace("max_drop", "max_dorp").replace("seed", "sed")
    )

    with pytest.raises(ContractError) as caught:
        load_recipe(folder / "recipe.yaml", {})

    assert "line 7: calibration.sed" in str(caught.value)
    assert "line 8: evaluation.max_dorp" in str(caught.value)
    assert "did you mean 'max_drop'" in str(caught.value)


def test_flags_override_the_recipe(folder: Path) -> None:
    flags = Flags(
        version="2.0.0", max_drop=0.5, target="raspberry-pi-4", to="onnx", precision="int8"
    )

    loaded = load_recipe(folder / "recipe.yaml", overlay(flags, has_recipe=True))

    assert loaded.recipe.version == "2.0.0"
    assert loaded.recipe.name == "colours"
    assert target_of(loaded.recipe).activations == "int8"
    assert loaded.recipe.evaluation is not None
    assert loaded.recipe.evaluation.max_drop == 0.5
    assert [o.precision for o in loaded.recipe.outputs] == ["int8"]


def test_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="no target 'toaster'"):
        overlay(Flags(target="toaster"), has_recipe=True)
