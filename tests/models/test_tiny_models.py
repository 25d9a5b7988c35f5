"""The tiny models answer what their weights were chosen for, and are what the script makes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgeops.inference.runtimes.loading import open_model
from tests.models.make_models import anomaly, classifier, detector

HERE = Path(__file__).parent
Floats = npt.NDArray[np.float32]


def _run(name: str, value: Floats) -> npt.NDArray[np.generic]:
    model = open_model(HERE / f"{name}.onnx", "onnx")
    try:
        return model.run([value])[0]
    finally:
        model.close()


@pytest.mark.parametrize("make", [classifier, anomaly, detector])
def test_the_committed_file_is_what_the_script_makes(make: object) -> None:
    assert callable(make)
    made = make()

    assert (HERE / f"{made.graph.name}.onnx").read_bytes() == made.SerializeToString()
    assert made.ByteSize() < 20_000


@pytest.mark.parametrize("colour", [0, 1, 2])
def test_the_classifier_names_the_colour_that_prevails(colour: int) -> None:
    rng = np.random.default_rng(colour)
    for _ in range(20):
        picture = rng.uniform(0.0, 0.4, (1, 3, 8, 8)).astype(np.float32)
        picture[:, colour] += 0.5

        scores = _run("tiny-classifier", picture)

        assert scores.shape == (1, 3)
        assert int(scores.argmax()) == colour
        assert scores.max() > 0.6


def test_the_autoencoder_knows_one_turn_of_a_sine_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    angle = 2 * np.pi * np.arange(16) / 16
    for phase in rng.uniform(0, 2 * np.pi, 10):
        known = np.cos(angle + phase)[None].astype(np.float32)
        unknown = np.cos(3 * angle + phase)[None].astype(np.float32)

        assert np.square(_run("tiny-anomaly", known) - known).mean() < 1e-10
        assert np.square(_run("tiny-anomaly", unknown) - unknown).mean() > 0.4


@pytest.mark.parametrize(("colour", "bgr"), [(0, (0, 0, 255)), (1, (255, 0, 0))])
@pytest.mark.parametrize("cell", [(0, 0), (1, 2), (3, 3)])
def test_the_detector_finds_a_square_in_its_cell(
    colour: int, bgr: tuple[int, int, int], cell: tuple[int, int]
) -> None:
    row, column = cell
    picture = np.full((1, 3, 64, 64), 90.0, dtype=np.float32)
    square = np.array(bgr, dtype=np.float32)[:, None, None]
    picture[0, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = square

    output = _run("tiny-detector-yolox", picture)

    assert output.shape == (1, 84, 7)
    found = output[0]
    scores = found[:, 4:5] * found[:, 5:]
    assert np.argwhere(scores > 0.3).tolist() == [[64 + 4 * row + column, colour]]
    # YOLOX: centre = (raw + cell) * stride, size = exp(raw) * stride
    assert np.allclose(found[64 + 4 * row + column, :4], [0.5, 0.5, 0.0, 0.0], atol=1e-6)


def test_the_detector_finds_nothing_in_a_grey_picture() -> None:
    output = _run("tiny-detector-yolox", np.full((1, 3, 64, 64), 128.0, dtype=np.float32))

    assert output[0, :, 4].max() < 0.05
