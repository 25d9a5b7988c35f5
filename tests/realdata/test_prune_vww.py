"""Pruning a public model without labels: what must be left of its accuracy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Feeds
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.onnx_format import read_model, serialize
from converters.ort import OrtModel
from converters.pruning.prune import prune
from converters.pruning.search import search
from converters.tflite.catalog import lower_to_tflite
from tests.realdata.photos import coco_numbers, crops
from tests.unit.converters.tflite_runner import TfliteRunner

pytestmark = pytest.mark.realdata


@dataclass(frozen=True, slots=True)
class PersonDetector:
    """The person detector of MLPerf Tiny, unlabelled photos, and labelled official images."""

    graph: Graph
    photos: list[Feeds]
    images: list[Feeds]
    labels: list[int]

    def top1(self, graph: Graph) -> float:
        model = OrtModel(serialize(graph))
        answers = [int(np.argmax(model.run(feeds)["output"])) for feeds in self.images]
        return float(np.mean(np.equal(answers, self.labels)))


def as_input(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Feeds:
    pixels = np.asarray(image, np.float32) / np.float32(255)
    return {"input": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}


@pytest.fixture(scope="module")
def vww(data_dir: Path) -> PersonDetector:
    with np.load(data_dir / "mlperf_tiny/eval/vww01_a.npz") as data:
        images, labels = data["x"], data["y"]
        evaluated = coco_numbers([str(name) for name in data["files"]])
    photos = crops(data_dir / "detect/images", 96, each=5, without=evaluated)
    return PersonDetector(
        import_model(read_model(data_dir / "mlperf_tiny/models_onnx/vww_96_float.onnx")),
        [as_input(photo) for photo in photos],
        [as_input(image) for image in images],
        [int(label) for label in labels],
    )


def test_a_fifth_of_the_channels_costs_less_than_four_points(vww: PersonDetector) -> None:
    pruned = prune(vww.graph, vww.photos, 0.2)

    assert pruned.removed == pytest.approx(0.2, abs=0.02)
    assert vww.top1(pruned.graph) >= 0.81
    assert pruned.parameters[1] < 0.75 * pruned.parameters[0]
    assert pruned.macs[1] < 0.75 * pruned.macs[0]


def test_the_search_finds_the_channels_that_this_model_never_uses(vww: PersonDetector) -> None:
    base = vww.top1(vww.graph)

    found = search(vww.graph, vww.photos[:100], lambda graph: base - vww.top1(graph), 0.01)

    assert found.best is not None
    assert found.best.removed >= 0.55
    assert vww.top1(found.best.graph) >= base - 0.01
    assert found.best.parameters[1] < 0.25 * found.best.parameters[0]


def test_a_pruned_model_answers_alike_in_tflite(vww: PersonDetector) -> None:
    pruned = prune(vww.graph, vww.photos[:60], 0.5)
    exact = OrtModel(serialize(pruned.graph))
    lowered = TfliteRunner(lower_to_tflite(pruned.graph))

    for feeds in vww.images[:10]:
        np.testing.assert_allclose(
            np.asarray(lowered.run(feeds)["output"], np.float32),
            np.asarray(exact.run(feeds)["output"], np.float32),
            atol=1e-4,
        )
