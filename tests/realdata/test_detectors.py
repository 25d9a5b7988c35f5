"""Detectors that others trained, on photographs with known content."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeops.contracts.manifest import InputSpec, Task
from edgeops.contracts.preprocess import Letterbox, Normalize, Resize, Step
from edgeops.contracts.result import Box, Detection
from edgeops.inference.arrays import Array
from edgeops.inference.golden import overlap
from edgeops.inference.model import Model

pytestmark = pytest.mark.realdata

SCORE = 0.3
LARGE = 0.02
"""Share of the image from which a person counts as large."""


def _shares(box: list[float], image: Array) -> Box:
    height, width = image.shape[:2]
    return (box[0] / width, box[1] / height, box[2] / width, box[3] / height)


def _read(path: Path) -> Array:
    image = cv2.imread(str(path))
    assert image is not None, path
    return image


@pytest.fixture(scope="module")
def yolox(data_dir: Path) -> Model:
    names = (data_dir / "detect/coco_classes.txt").read_text().split("\n")
    task = Task(
        type="detection",
        decoder="yolox",
        labels=tuple(name for name in names if name),
        score_threshold=SCORE,
    )
    steps = (Step(letterbox=Letterbox(size=(416, 416), pad=114)), Step(color="bgr"))
    return Model.open(
        data_dir / "detect/models/yolox_nano.onnx",
        "onnx",
        task=task,
        spec=InputSpec(layout="nchw", preprocess=steps),
    )


def test_yolox_sees_people_where_people_are(yolox: Model, data_dir: Path) -> None:
    labels = json.loads((data_dir / "detect/person_labels.json").read_text())
    hits = misses = false_alarms = empty = large = found = 0
    for name, truth in labels.items():
        if truth["person"] not in (True, False):
            continue
        image = _read(data_dir / "detect/images" / name)
        people = [d for d in yolox.predict(image, "bgr").objects if d.label == "person"]
        if truth["person"]:
            hits += bool(people)
            misses += not people
        else:
            empty += 1
            false_alarms += bool(people)
        for box in truth.get("boxes_xyxy", ()):
            wanted = _shares(box, image)
            if (wanted[2] - wanted[0]) * (wanted[3] - wanted[1]) > LARGE:
                large += 1
                found += any(overlap(wanted, person.box) >= 0.5 for person in people)

    assert hits + misses == 28
    assert hits >= 26
    assert empty == 19
    assert false_alarms == 0
    assert large == 64
    assert found >= 53, "boxes are not where the people are"


def test_yolox_gives_the_boxes_of_its_reference_run(yolox: Model, data_dir: Path) -> None:
    reference = json.loads((data_dir / "detect/float_detections_yolox_nano.json").read_text())
    compared = matched = 0
    for name, rows in list(reference.items())[:20]:
        image = _read(data_dir / "detect/images" / name)
        objects = yolox.predict(image, "bgr").objects
        for index, score, *box in rows:
            if score < 0.5:
                continue
            label, wanted = yolox.task.labels[index], _shares(box, image)
            compared += 1
            matched += any(_same(found, label, score, wanted) for found in objects)

    assert compared > 30
    assert matched >= 0.95 * compared


def _same(found: Detection, label: str, score: float, box: Box) -> bool:
    return (
        found.label == label and abs(found.score - score) < 0.15 and overlap(found.box, box) > 0.7
    )


def test_quantized_ssd_finds_three_cats_and_a_dog(data_dir: Path) -> None:
    labels = [f"class-{index}" for index in range(90)]
    labels[16], labels[17] = "cat", "dog"
    task = Task(type="detection", decoder="ssd", labels=tuple(labels), score_threshold=0.4)
    steps = (
        Step(resize=Resize(size=(300, 300))),
        Step(normalize=Normalize(mean=(128.0,), std=(128.0,))),
    )
    model = Model.open(
        data_dir / "detect/models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
        "tflite",
        task=task,
        spec=InputSpec(layout="nhwc", preprocess=steps),
    )
    image = _read(data_dir / "detect/images/cats_and_dogs.jpg")

    objects = model.predict(image, "bgr").objects

    animals = objects[:4]
    assert [found.label for found in animals] == ["cat", "cat", "cat", "dog"]
    assert [found.score for found in animals] == pytest.approx([0.64, 0.61, 0.56, 0.50], abs=0.03)
    listed = [
        ("cat", 54, 396, 393, 196),
        ("cat", 602, 157, 394, 447),
        ("cat", 260, 394, 180, 209),
        ("dog", 389, 197, 278, 409),
    ]
    for label, x, y, width, height in listed:
        wanted = _shares([x, y, x + width, y + height], image)
        assert any(
            found.label == label and overlap(found.box, wanted) >= 0.5 for found in animals
        ), f"the {label} at {x},{y} was not found"


def test_the_camera_s_channel_order_is_minded(yolox: Model, data_dir: Path) -> None:
    image = _read(data_dir / "detect/images/cats_and_dogs.jpg")
    swapped = np.ascontiguousarray(image[..., ::-1])

    assert yolox.predict(image, "bgr") == yolox.predict(swapped, "rgb")


def test_ultraface_counts_the_faces_that_people_count(data_dir: Path) -> None:
    task = Task(
        type="detection",
        decoder="ultraface",
        labels=("face",),
        score_threshold=0.7,
        nms_iou=0.3,
        max_objects=200,
    )
    steps = (
        Step(resize=Resize(size=(320, 240))),
        Step(normalize=Normalize(mean=(127.0,), std=(128.0,))),
    )
    model = Model.open(
        data_dir / "face/models/version-slim-320.onnx",
        "onnx",
        task=task,
        spec=InputSpec(layout="nchw", preprocess=steps),
    )
    counts = {"2.jpg": 4, "5.jpg": 1, "9.jpg": 8, "12.jpg": 5, "16.jpg": 9, "19.jpg": 5}

    found = {
        name: len(model.predict(_read(data_dir / "face/images" / name), "bgr").objects)
        for name in counts
    }

    assert found == counts


def test_fastestdet_gives_the_boxes_of_its_reference_run(data_dir: Path) -> None:
    names = (data_dir / "detect/coco_classes.txt").read_text().split("\n")
    labels = tuple(name for name in names if name)
    task = Task(type="detection", decoder="fastestdet", labels=labels, score_threshold=0.5)
    steps = (
        Step(resize=Resize(size=(352, 352), interpolation="area")),
        Step(color="bgr"),
        Step(scale=1 / 255),
    )
    model = Model.open(
        data_dir / "detect/models/FastestDet.onnx",
        "onnx",
        task=task,
        spec=InputSpec(layout="nchw", preprocess=steps),
    )
    reference = json.loads((data_dir / "detect/float_detections_FastestDet.json").read_text())
    compared = matched = 0
    for name, rows in list(reference.items())[:20]:
        image = _read(data_dir / "detect/images" / name)
        objects = model.predict(image, "bgr").objects
        for index, score, *box in rows:
            if score < 0.6:  # the reference shrank the photographs in another way
                continue
            compared += 1
            wanted = _shares(box, image)
            matched += any(_same(found, labels[index], score, wanted) for found in objects)

    assert compared > 30
    assert matched >= 0.95 * compared
