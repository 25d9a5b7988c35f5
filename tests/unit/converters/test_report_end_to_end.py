"""A conversion that ruins one class within its budget says so everywhere it must."""

import json
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Array
from converters.exam import npz_bytes
from converters.report.__main__ import main as redraw
from edgeops import cli
from edgeops.bundle import open_folder
from tests.unit.converters.nets import net, node

RECIPE = """
model: colours.onnx
name: colours
version: 1.0.0
task: {type: classification, labels: [red, green, blue]}
input: {layout: nchw, preprocess: [{scale: 0.00392156862745098}]}
calibration: {data: calibration.npz, samples: 20, method: minmax}
evaluation: {data: evaluation.npz, metric: top1, max_drop: 0.5, slices: [site]}
outputs: [{runtime: onnx, precision: int8}]
card: {limits: Daylight only.}
"""


def model() -> bytes:
    """Return a net whose blue is a thousandth of red and green, until the last layer.

    All three share one integer grid in between, on which nothing is left of blue.
    """
    faint = np.diag([1.0, 1.0, 0.001]).reshape(3, 3, 1, 1)
    loud = np.diag([1.0, 1.0, 1000.0]).reshape(3, 3, 1, 1)
    constants: dict[str, Array] = {
        "w": faint.astype(np.float32),
        "v": loud.astype(np.float32),
        "b": np.zeros(3, np.float32),
    }
    nodes = [
        node("Conv", "x w b", "a"),
        node("Relu", "a", "r"),
        node("Conv", "r v b", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
        node("Softmax", "f", "y"),
    ]
    return net(nodes, inputs={"x": ["N", 3, 8, 8]}, outputs={"y": ["N", 3]}, constants=constants)


def images(seed: int, count: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    x = random.integers(0, 120, (count, 8, 8, 3))
    x[np.arange(count), :, :, truth] += 60
    return {"x": x.astype(np.uint8), "y": truth, "site": (np.arange(count) % 2).astype(str)}


def test_a_class_that_integers_ruin_is_named_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "colours.onnx").write_bytes(model())
    (tmp_path / "calibration.npz").write_bytes(npz_bytes(images(1, 20)))
    (tmp_path / "evaluation.npz").write_bytes(npz_bytes(images(2, 60)))
    out = tmp_path / "out"

    words = ["convert", "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(out), "--json"]
    status = cli.main(words)
    record = json.loads(capsys.readouterr().out)

    assert status == 0
    sentence = "onnx int8 hurts class 'blue' more than the rest: 100.0% to 0.0% right on its 20"
    assert [warning for warning in record["warnings"] if warning.startswith(sentence)]
    manifest = open_folder(out / "colours-1.0.0").manifest
    assert manifest.card.limits.startswith("Daylight only.\nonnx-int8 hurts class 'blue'")
    assert manifest.card.per_class["blue"]["original_recall"] == 1.0
    assert manifest.card.per_class["blue"]["recall"] == 0.0
    page = (out / "colours-1.0.0.report.html").read_text()
    assert "hurts class &#39;blue&#39; more than the rest" in page
    assert "By site" in page
    document = json.loads((out / "colours-1.0.0.report.json").read_bytes())
    (variant,) = document["variants"]
    assert variant["comparison"]["drop"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert {group["value"] for group in variant["assessment"]["slices"]} == {"0", "1"}
    assert document["quantization"]["quantized_macs"] == 1.0
    assert document["quantization"]["layers"]
    inside = json.loads((out / "colours-1.0.0" / "report.json").read_bytes())
    assert "latency_ms" not in inside["variants"][0] or not inside["variants"][0]["latency_ms"]
    assert inside["quantization"] == document["quantization"]

    # The page is drawn again from the document, as it is with measurements of boards.
    page_before = (out / "colours-1.0.0.report.html").read_bytes()
    words = ["report", str(out / "colours-1.0.0.report.json")]
    monkeypatch.setattr("sys.argv", words)
    assert redraw() == 0, capsys.readouterr().err
    assert (out / "colours-1.0.0.report.html").read_bytes() == page_before
