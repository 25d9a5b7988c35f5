"""Detection heads against outputs that were encoded from known boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeops.contracts.manifest import Decoder, Task, TensorSpec
from edgeops.contracts.result import Result
from edgeops.errors import BadOutputError, InferenceError
from edgeops.inference.arrays import Floats
from edgeops.inference.form import Geometry
from edgeops.inference.golden import overlap
from edgeops.inference.packing import Prepared
from edgeops.inference.postprocess.detection import DetectionDecoder
from edgeops.inference.postprocess.heads import MAX_CANDIDATES
from edgeops.inference.postprocess.nms import suppress

LABELS = ("cat", "dog", "owl")
SIDE = 64


def task(decoder: Decoder, *, activation: str = "none", threshold: float = 0.3) -> Task:
    return Task(
        type="detection",
        decoder=decoder,
        labels=LABELS,
        activation="sigmoid" if activation == "sigmoid" else "none",
        score_threshold=threshold,
    )


def specs(*arrays: Floats) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name="y", shape=a.shape, dtype="float32") for a in arrays)


def decode(wanted: Task, *arrays: Floats) -> Result:
    prepared = Prepared((), geometry=Geometry.whole(SIDE, SIDE))
    return DetectionDecoder(wanted, specs(*arrays))(prepared, [arrays])


def yolox_cells() -> list[tuple[int, int, int]]:
    """Return stride, column and row of every cell."""
    return [
        (stride, x, y)
        for stride in (8, 16, 32)
        for y in range(SIDE // stride)
        for x in range(SIDE // stride)
    ]


@settings(deadline=None, max_examples=50)
@given(
    cell=st.integers(0, 83),
    inside=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    size=st.tuples(st.floats(2, 60), st.floats(2, 60)),
    label=st.integers(0, 2),
)
def test_yolox_boxes_come_back_from_any_cell(
    cell: int, inside: tuple[float, float], size: tuple[float, float], label: int
) -> None:
    stride, x, y = yolox_cells()[cell]
    rows = np.zeros((1, 84, 8), dtype=np.float32)
    rows[0, cell, :4] = [*inside, np.log(size[0] / stride), np.log(size[1] / stride)]
    rows[0, cell, 4] = 0.8
    rows[0, cell, 5 + label] = 0.9

    (found,) = decode(task("yolox"), rows).objects

    centre = ((x + inside[0]) * stride, (y + inside[1]) * stride)
    half = (size[0] / 2, size[1] / 2)
    expected = np.array(
        [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
    )
    assert found.label == LABELS[label]
    assert found.score == pytest.approx(0.72)
    np.testing.assert_allclose(found.box, np.clip(expected / SIDE, 0, 1), atol=1e-4)


def test_yolox_scores_may_come_as_logits() -> None:
    rows = np.full((1, 84, 8), -20.0, dtype=np.float32)
    rows[0, 0, :4] = 0
    rows[0, 0, 4:7] = [0.0, np.log(3), -20]

    (found,) = decode(task("yolox", activation="sigmoid"), rows).objects

    assert found.score == pytest.approx(0.5 * 0.75, abs=1e-5)


def test_a_yolox_head_for_another_image_size_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"85 cells.*64x64 give 84"):
        decode(task("yolox"), np.zeros((1, 85, 8), dtype=np.float32))


def test_the_three_yolo_forms_agree() -> None:
    boxes = np.array([[10, 20, 8, 6], [40, 30, 20, 10], [40, 31, 20, 10]], dtype=np.float32)
    scores = np.array([[0.9, 0, 0], [0, 0.6, 0.1], [0, 0.5, 0]], dtype=np.float32)
    rows = np.hstack([boxes, scores])[None]
    with_objects = np.hstack([boxes, np.ones((3, 1), np.float32), scores])[None]

    first = decode(task("yolo"), rows)
    columns = decode(task("yolo"), np.ascontiguousarray(rows.transpose(0, 2, 1)))
    objects = decode(task("yolo"), with_objects)

    assert first == columns == objects
    assert [found.label for found in first.objects] == ["cat", "dog"]
    assert first.objects[0].box == pytest.approx((6 / 64, 17 / 64, 14 / 64, 23 / 64))
    assert first.score == pytest.approx(0.9)


def ssd(classes: list[float], scores: list[float]) -> tuple[Floats, Floats, Floats, Floats]:
    boxes = np.tile(np.array([0.1, 0.2, 0.3, 0.6], np.float32), (1, len(classes), 1))
    boxes += np.arange(len(classes), dtype=np.float32)[None, :, None] * 0.3
    return (
        boxes,
        np.array([classes], np.float32),
        np.array([scores], np.float32),
        np.array([len(classes)], np.float32),
    )


def test_ssd_outputs_are_known_in_both_orders() -> None:
    boxes, classes, scores, count = ssd([2, 0], [0.8, 0.5])

    old = decode(task("ssd"), boxes, classes, scores, count)
    new = decode(task("ssd"), scores, boxes, count, classes)

    assert old == new
    assert [found.label for found in old.objects] == ["owl", "cat"]
    assert old.objects[0].box == pytest.approx((0.2, 0.1, 0.6, 0.3))


def test_ssd_counts_and_classes_that_cannot_be_are_not_believed() -> None:
    boxes, classes, scores, count = ssd([2, 0], [0.8, 0.5])

    assert len(decode(task("ssd"), boxes, classes, scores, count * 0 + 1).objects) == 1
    assert len(decode(task("ssd"), boxes, classes, scores, count + 1000).objects) == 2
    assert not decode(task("ssd"), boxes, classes, scores, count * -1).objects
    with pytest.raises(BadOutputError, match="class 3"):
        decode(task("ssd"), boxes, classes + 1, scores, count)


@pytest.mark.parametrize("decoder", ["yolox", "yolo", "ssd"])
def test_outputs_of_another_head_are_refused(decoder: Decoder) -> None:
    with pytest.raises(InferenceError, match="head"):
        decode(task(decoder), np.zeros((1, 10), dtype=np.float32))


def test_a_model_gone_wild_is_bounded() -> None:
    rows = np.zeros((1, 5 * MAX_CANDIDATES, 7), dtype=np.float32)
    rows[0, :, :4] = np.random.default_rng(0).uniform(0, 64, (rows.shape[1], 4))
    rows[0, :, 4] = 0.5
    rows[0, 777, 4] = 0.9

    result = decode(task("yolo"), rows)

    assert len(result.objects) <= 100
    assert result.objects[0].score == pytest.approx(0.9)


def brute_force(boxes: Floats, scores: Floats, classes: list[int], iou: float) -> list[int]:
    """Return what stays, by the definition: best first, each against all that stay."""
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: -scores[row]):
        rivals = [k for k in kept if classes[k] == classes[row]]
        if all(_iou(boxes[row], boxes[k]) <= iou for k in rivals):
            kept.append(row)
    return kept


def _iou(a: Floats, b: Floats) -> float:
    return overlap(
        (float(a[0]), float(a[1]), float(a[2]), float(a[3])),
        (float(b[0]), float(b[1]), float(b[2]), float(b[3])),
    )


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.integers(0, 12) for _ in range(4)], st.integers(0, 9), st.integers(0, 2)),
        max_size=40,
    ),
    # No ratio of small whole numbers: rounding would decide otherwise.
    iou=st.sampled_from([0.1234, 0.3456, 0.4567, 0.7891]),
)
def test_suppression_equals_brute_force(
    rows: list[tuple[int, int, int, int, int, int]], iou: float
) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _, _ in rows], dtype=np.float32).reshape(
        -1, 4
    )
    scores = np.array([row[4] / 10 for row in rows], dtype=np.float32)
    classes = [row[5] for row in rows]

    kept = suppress(boxes, scores, np.array(classes, dtype=np.intp), iou=iou, most=1000)

    assert kept.tolist() == brute_force(boxes, scores, classes, iou)
    few = suppress(boxes, scores, np.array(classes, dtype=np.intp), iou=iou, most=3)
    assert few.tolist() == kept.tolist()[:3]
