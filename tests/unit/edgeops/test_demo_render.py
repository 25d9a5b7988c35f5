"""The demo's recordings: the same seed, the same bytes; what is written reads back whole."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeops.demo import belt
from edgeops.demo.render import (
    LABELS,
    RATE_HZ,
    Interval,
    belt_sample,
    vibration,
    write_belt_video,
    write_vibration_csv,
    write_vibration_dataset,
    write_visual_dataset,
)
from edgeops.errors import ContractError, StorageError


def _read_video(path: Path) -> list[belt.Frame]:
    capture = cv2.VideoCapture(str(path))
    try:
        frames: list[belt.Frame] = []
        while True:
            ok, frame = capture.read()
            if not ok:
                return frames
            frames.append(np.asarray(frame, dtype=np.uint8))
    finally:
        capture.release()


@pytest.mark.parametrize("label", LABELS)
def test_a_picture_depends_on_its_seed_alone(label: belt.Label) -> None:
    first = belt_sample(np.random.default_rng(5), label)
    again = belt_sample(np.random.default_rng(5), label)
    other = belt_sample(np.random.default_rng(6), label)

    assert first.shape == (120, 160, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_part_is_brighter_than_the_belt() -> None:
    rng = np.random.default_rng(1)

    middle = {
        label: np.mean([belt_sample(rng, label)[30:90, 55:105].mean() for _ in range(12)])
        for label in LABELS
    }

    assert middle["good"] > middle["empty"] + 25
    assert middle["defect"] > middle["empty"] + 25


def test_a_video_reads_back_every_frame_nearly_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "belt.avi"

    write_belt_video(path, seed=3, seconds=6.5, defects=[(5, 7)])

    passes = belt.belt_passes(seed=3, seconds=6.5, defects=[(5, 7)])
    drawn = list(belt.belt_frames(passes, seed=3, seconds=6.5))
    frames = _read_video(path)
    assert len(frames) == len(drawn) == 65
    errors = [
        np.abs(frame.astype(int) - was.astype(int)).mean()
        for frame, was in zip(frames, drawn, strict=True)
    ]
    assert max(errors) < 8, "compression should lose noise, not content"


def test_a_video_depends_on_its_seed_alone(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_belt_video(tmp_path / f"{name}.avi", seed=seed, seconds=3, defects=[])

    first, again, other = ((tmp_path / f"{name}.avi").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_the_truth_names_the_flawed_parts_of_the_intervals(tmp_path: Path) -> None:
    path = tmp_path / "belt.avi"

    truth = write_belt_video(path, seed=3, seconds=16, defects=[(5, 7), (13.5, 16)])

    assert [round((start_s + end_s) / 2) for start_s, end_s in truth] == [6, 14]
    parts = json.loads(path.with_suffix(".truth.json").read_text())["parts"]
    labels = [part["label"] for part in parts]
    assert labels == ["good", "defect", "good", "defect"]
    assert [part["flaw"] is None for part in parts] == [True, False, True, False]


def test_only_one_part_is_in_view_at_a_time() -> None:
    passes = belt.belt_passes(seed=1, seconds=60, defects=[])
    width_s = (belt.WIDTH_PX + 2 * 45) / belt.SPEED_PX_PER_S

    gaps = np.diff([one.middle_s for one in passes])

    assert gaps.min() > width_s


@pytest.mark.parametrize(
    ("seconds", "defects", "place"),
    [
        (0.0, [], "seconds"),
        (3601.0, [], "seconds"),
        (float("nan"), [], "seconds"),
        (10.0, [(5.0, 7.0), (7.0, 9.0)], r"defects\[1\]"),
        (10.0, [(9.0, 11.0)], r"defects\[0\]"),
    ],
)
def test_recordings_that_make_no_sense_are_refused(
    tmp_path: Path, seconds: float, defects: list[tuple[float, float]], place: str
) -> None:
    with pytest.raises(ContractError, match=place):
        write_belt_video(tmp_path / "belt.avi", seed=1, seconds=seconds, defects=defects)
    assert not list(tmp_path.iterdir())


def test_a_video_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no-such-folder"):
        write_belt_video(tmp_path / "no-such-folder" / "belt.avi", seed=1, seconds=1, defects=[])
    with pytest.raises(ContractError, match="avi"):
        write_belt_video(tmp_path / "belt.mp4", seed=1, seconds=1, defects=[])


@pytest.mark.parametrize("write", [write_visual_dataset, write_vibration_dataset])
def test_a_data_set_depends_on_its_seed_alone(
    tmp_path: Path, write: Callable[[Path, int, int], None]
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(tmp_path / f"{name}.npz", seed, 6)

    first, again, other = ((tmp_path / f"{name}.npz").read_bytes() for name in "abc")
    assert first == again
    assert first != other
    with pytest.raises(ContractError, match="samples"):
        write(tmp_path / "d.npz", 1, 0)


def test_data_sets_have_the_shapes_that_the_recipes_start_from(tmp_path: Path) -> None:
    write_visual_dataset(tmp_path / "visual.npz", 1, 7)
    write_vibration_dataset(tmp_path / "bearing.npz", 1, 5)

    with np.load(tmp_path / "visual.npz") as data:
        assert data["x"].shape == (7, 120, 160, 3)
        assert data["x"].dtype == np.uint8
        assert data["y"].tolist() == [0, 1, 2, 0, 1, 2, 0]
        belt_rgb = data["x"][0].mean(axis=(0, 1))
    assert belt_rgb[1] > belt_rgb[2] > belt_rgb[0], "the belt is green with more blue than red"
    with np.load(tmp_path / "bearing.npz") as data:
        assert data["x"].shape == (5, 4 * RATE_HZ)
        assert data["x"].dtype == np.float32
        assert data["y"].tolist() == [0, 1, 0, 1, 0]


def test_a_fault_rings_at_the_resonance_and_grows_with_severity() -> None:
    def ringing(fault: float) -> float:
        value = vibration(np.random.default_rng(9), 8, fault)
        spectrum = np.abs(np.fft.rfft(value))[1:]
        hertz = np.fft.rfftfreq(len(value), 1 / RATE_HZ)[1:]
        return float(spectrum[(hertz > 300) & (hertz < 360)].mean())

    healthy, small, full = ringing(0.0), ringing(0.4), ringing(1.0)

    assert healthy * 1.3 < small < full


@pytest.mark.parametrize("fault", [-0.1, 1.1, float("nan")])
def test_a_severity_out_of_range_is_refused(fault: float) -> None:
    with pytest.raises(ContractError, match="fault"):
        vibration(np.random.default_rng(1), 1, fault)


def test_a_vibration_recording_is_a_table_with_time(tmp_path: Path) -> None:
    path = tmp_path / "bearing.csv"

    truth = write_vibration_csv(path, seed=4, seconds=6, faults=[(2, 4), (5, 9)])

    assert truth == [Interval(2, 4), Interval(5, 6)]
    assert path.read_text().partition("\n")[0] == "t,accel_g"
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    assert table.shape == (6 * RATE_HZ, 2)
    assert np.allclose(np.diff(table[:, 0]), 1 / RATE_HZ, atol=1e-6)
    late_s = (table[:, 0] > 3) & (table[:, 0] < 4)
    assert table[late_s, 1].std() > 1.2 * table[table[:, 0] < 2, 1].std()
    with pytest.raises(ContractError, match=r"faults\[0\]"):
        write_vibration_csv(path, seed=4, seconds=6, faults=[(6, 7)])
