"""The doctor makes a published file run that every full runtime refuses."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.doctor.examination import examine
from converters.doctor.repair import repair
from edgeops.inference.runtimes.loading import open_model


@pytest.mark.realdata
def test_person_detect_is_repaired_and_answers_as_its_authors_say(
    data_dir: Path, tmp_path: Path
) -> None:
    examined = examine(data_dir / "tflm/person_detect.tflite")
    out = tmp_path / "repaired.tflite"

    repair(examined, out, force=False)

    assert sum(found.rule == "scale-axis" for found in examined.findings) == 14
    model = open_model(out, "tflite")
    answers = {}
    for name in ("person", "no_person"):
        picture = cv2.imread(str(data_dir / f"tflm/{name}.bmp"), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        (scores,) = model.run([picture.view(np.int8).reshape(1, 96, 96, 1)])
        answers[name] = scores.ravel().tolist()
    assert answers == {"person": [-113, 113], "no_person": [60, -60]}
    assert examine(out).healthy
