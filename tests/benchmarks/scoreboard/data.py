"""The data behind the scoreboard, written in the forms that ``edgeops convert`` reads."""

import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SEED = 7


@dataclass(frozen=True, slots=True)
class Fold:
    """Data to calibrate on, and other data to judge on."""

    calibration: Path
    evaluation: Path


@dataclass(frozen=True, slots=True)
class Source:
    """One set: how many samples it has, and how some of them are written to a path."""

    size: int
    write: Callable[[Sequence[int], Path], Path]


def folds(data: Path, evaluation: str, calibration: str, work: Path) -> tuple[Fold, ...]:
    """Return one fold, or two crossed halves where there is no data for calibration alone."""
    judged = _source(data, evaluation)
    if calibration:
        given = _source(data, calibration)
        return (
            Fold(
                given.write(range(given.size), work / "calibration"),
                judged.write(range(judged.size), work / "evaluation"),
            ),
        )
    order = np.random.default_rng(SEED).permutation(judged.size)
    halves = [sorted(int(i) for i in half) for half in np.array_split(order, 2)]
    first, second = (judged.write(half, work / f"half{i}") for i, half in enumerate(halves))
    return Fold(first, second), Fold(second, first)


def _source(data: Path, name: str) -> Source:
    tiny = data / "mlperf_tiny/eval"
    arrays = {
        "vww": tiny / "vww01_a.npz",
        "kws": tiny / "kws01_mfcc_a.npz",
        "cifar": tiny / "ic01_a.npz",
        "toycar": tiny / "ad01_a.npz",
        "cifar-jpeg": data / "cifar10_jpeg/test_a.npz",
        "cifar-train": data / "cifar10_jpeg/calib_train500.npz",
        "mnist": data / "mnist/t10k_first5000.npz",
    }
    if name in arrays:
        with np.load(arrays[name]) as archive:
            return _arrays(archive["x"], archive["y"])
    if name == "gesture":
        table = np.loadtxt(data / "gesture/keypoint.csv", delimiter=",", dtype=np.float32)
        return _arrays(table[:, 1:], table[:, 0].astype(np.int64))
    if name == "7-segment":
        return _arrays(*_segments(data / "seg7/images.zip"))
    if name == "flowers":
        return _flowers(data)
    if name == "faces":
        return _photos([p for p in _images(data / "face/images") if p.stem != "25"])  # a crowd
    photos = _images(data / "detect/images")
    chosen = {
        "photos": [p for p in photos if not _is_judged(p, data)],
        "photos-even": photos[::2],
        "photos-odd": photos[1::2],
    }
    return _photos(chosen[name])


def _arrays(x: npt.NDArray[np.generic], y: npt.NDArray[np.generic]) -> Source:
    def write(indices: Sequence[int], path: Path) -> Path:
        picked = np.asarray(indices)
        file = path.with_suffix(".npz")
        np.savez(file, x=x[picked], y=y[picked])
        return file

    return Source(len(x), write)


def _photos(files: Sequence[Path]) -> Source:
    def write(indices: Sequence[int], path: Path) -> Path:
        path.mkdir()
        for index in indices:
            shutil.copy(files[index], path / files[index].name)
        return path

    return Source(len(files), write)


def _images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def _is_judged(photo: Path, data: Path) -> bool:
    """Whether a photograph is also in the person data set, whose files have the same numbers."""
    with np.load(data / "mlperf_tiny/eval/vww01_a.npz") as archive:
        known = {Path(str(name)).stem for name in archive["files"]}
    return photo.stem.removeprefix("coco_") in known


def _segments(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images, labels = [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith(".jpg"):
                continue
            image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError(f"{name} in {path} is no image")
            images.append(cv2.resize(image, (96, 96))[:, :, ::-1])
            labels.append(int(name.split("/")[0]))
    return np.stack(images).astype(np.uint8), np.asarray(labels, np.int64)


def _flowers(data: Path) -> Source:
    """Three photographs of flowers with many crops each: the model's only labelled pictures."""
    random = np.random.default_rng(SEED)
    images, labels = [], []
    for name, label in (("daisy", 0), ("rose", 2), ("tulip", 4)):
        picture = cv2.imread(str(data / f"classify/{name}.jpg"))
        if picture is None:
            raise ValueError(f"{name}.jpg is no image")
        height, width = picture.shape[:2]
        for _ in range(100):
            share = random.uniform(0.6, 1.0)
            h, w = int(height * share), int(width * share)
            top, left = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
            crop = cv2.resize(picture[top : top + h, left : left + w], (128, 128))
            images.append(crop[:, :, ::-1])
            labels.append(label)
    return _arrays(np.stack(images).astype(np.uint8), np.asarray(labels, np.int64))
