"""Unlabelled photos as inputs of a small image model, none of them among the evaluated ones."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Photo = npt.NDArray[np.uint8]

_COCO_NUMBER = re.compile(r"\d{12}")


def crops(folder: Path, size: int, *, each: int, without: Collection[str] = ()) -> list[Photo]:
    """Return square crops of every photo, ``(size, size, 3)`` RGB, in a mixed order.

    Args:
        folder: Holds the photos.
        size: Of the crops, in pixels.
        each: Crops per photo: the largest in the middle first, then random ones, every other
            mirrored.
        without: COCO numbers, 12 digits, of photos to leave out.
    """
    rng = np.random.default_rng(0)
    found = [
        crop
        for path in sorted(folder.glob("*.jpg"))
        if not {*_COCO_NUMBER.findall(path.name)} & {*without}
        for crop in _crops_of(path, size, each, rng)
    ]
    return [found[index] for index in rng.permutation(len(found))]


def coco_numbers(names: Collection[str]) -> frozenset[str]:
    """Return the COCO numbers in file names."""
    return frozenset(number for name in names for number in _COCO_NUMBER.findall(name))


def _crops_of(path: Path, size: int, each: int, rng: np.random.Generator) -> Iterator[Photo]:
    photo = cv2.imread(str(path))
    if photo is None:
        return
    photo = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
    short = min(photo.shape[:2])
    for number in range(each):
        side = int(short * rng.uniform(0.5, 1.0)) if number else short
        top, left = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        part = photo[top : top + side, left : left + side]
        part = part[:, ::-1] if number % 2 else part
        small = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA)
        yield np.ascontiguousarray(small, dtype=np.uint8)
