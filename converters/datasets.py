"""Samples for calibration and evaluation, from the forms that people have them in.

A sample is what pre-processing starts from: an image, a signal, a row of readings, with its
truth where the data says one. Samples are read one at a time, except for ``.npz``.
"""

import csv
import hashlib
import math
import wave
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.metrics import Truth
from edgeops.contracts.manifest import Task
from edgeops.contracts.preprocess import ColorOrder
from edgeops.contracts.result import Detection
from edgeops.errors import (
    BadOutputError,
    ContractError,
    InferenceError,
    MissingExtraError,
    StorageError,
    UsageError,
)
from edgeops.trust import file_sha256

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
SOUND_SUFFIXES: Final = frozenset({".wav"})
LABELS_FILE: Final = "labels.csv"

MAX_ARCHIVE_BYTES: Final = 4 << 30
MAX_SAMPLES: Final = 200_000

_BOX_COLUMNS: Final = ("x1", "y1", "x2", "y2")
_SAMPLE_WIDTH: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample with what is known about it."""

    data: Array
    truth: Truth
    slices: dict[str, str] = field(default_factory=dict)

    def sha256(self) -> str:
        """Return the digest of the sample's numbers: equal samples have equal digests."""
        head = f"{self.data.dtype.str}{self.data.shape}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.data).tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A set of samples that can be read again and again.

    Attributes:
        name: File or folder name, for people.
        sha256: Digest of all bytes the samples come from.
        labelled: Whether samples have a truth.
        size: Number of samples.
        read: Gives sample ``i``.
    """

    name: str
    sha256: str
    labelled: bool
    size: int
    read: Callable[[int], Sample]

    def all(self) -> Iterator[Sample]:
        """Yield every sample in order."""
        return (self.read(index) for index in range(self.size))

    @contextmanager
    def naming(self, index: int) -> Iterator[None]:
        """Name the data set and the sample in what goes wrong with it in the block."""
        try:
            yield
        except BadOutputError as error:
            raise BadOutputError(f"{self.name}: sample {index}: {error}") from error
        except InferenceError as error:
            raise InferenceError(f"{self.name}: sample {index}: {error}") from error

    def pick(self, count: int, seed: int) -> tuple[int, ...]:
        """Return the indices of ``count`` samples drawn by ``seed``, in ascending order."""
        if count >= self.size:
            return tuple(range(self.size))
        drawn = np.random.default_rng(seed).permutation(self.size)[:count]
        return tuple(sorted(int(index) for index in drawn))


def open_dataset(
    path: Path, task: Task, *, color: ColorOrder = "rgb", windowed: bool = False
) -> Dataset:
    """Return the data at ``path``.

    Args:
        path: ``.npz`` with ``x`` (and ``y``), a CSV of readings, or a folder of images or
            WAV files with ``labels.csv`` or one folder per class.
        task: Names the labels that whole numbers in the data stand for.
        color: Channel order that images are given in.
        windowed: Whether pre-processing cuts windows: a CSV is then one signal.

    Raises:
        StorageError: It cannot be read.
        ContractError: It is damaged or not what it should be.
        UsageError: It is none of these forms, or empty.
    """
    if path.is_dir():
        found = _open_folder(path, task, color)
    elif path.suffix == ".npz":
        found = _open_npz(path, task)
    elif path.suffix == ".csv":
        found = _open_csv(path, task, windowed=windowed)
    elif not path.exists():
        raise StorageError(f"cannot read {path}: no such file or folder")
    else:
        raise UsageError(f"{path}: expected .npz, .csv or a folder of images or WAV files")
    if not 0 < found.size <= MAX_SAMPLES:
        raise UsageError(f"{path}: {found.size} samples, expected 1 to {MAX_SAMPLES}")
    return found


def label_of(value: object, task: Task) -> str:
    """Return the class name for a label in data: a name, or the number of one.

    For regression the label is the number itself.

    Raises:
        ContractError: It is neither.
    """
    text = str(value.item() if isinstance(value, np.generic) else value).strip()
    if text in task.labels or not text:
        return text
    if task.type == "regression":
        return _number(text)
    names = task.labels
    if task.type == "anomaly":
        if text in {"normal", "anomaly"}:
            return text
        names = ("normal", "anomaly")
    try:
        index = int(float(text))
    except ValueError:
        raise ContractError("label", f"{text!r} is none of {', '.join(names)}") from None
    if not 0 <= index < len(names) or index != float(text):
        raise ContractError("label", f"{text!r} is no number of one of {len(names)} labels")
    return names[index]


def _number(text: str) -> str:
    """Return ``text`` if it is a finite number."""
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        finite = False
    if not finite:
        raise ContractError("label", f"{text!r} is no number to predict")
    return text


def _open_npz(path: Path, task: Task) -> Dataset:
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > MAX_ARCHIVE_BYTES:
            raise ContractError(path.name, f"unpacks to {total} bytes, too many")
        with np.load(path, allow_pickle=False) as archive_arrays:
            arrays: dict[str, Array] = {name: archive_arrays[name] for name in archive_arrays}
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise ContractError(path.name, f"is no readable .npz: {error}") from error
    if "x" not in arrays:
        raise ContractError(path.name, f"has no array 'x', only {sorted(arrays)}")
    x = arrays["x"]
    if not x.ndim:
        raise ContractError(path.name, "'x' is one number, expected one row for each sample")
    _refuse_not_finite(x, path.name)
    count = len(x)
    columns = {
        name: values
        for name, values in sorted(arrays.items())
        if name not in ("x", "y") and values.shape == (count,)
    }
    y = arrays.get("y")
    if y is not None and y.shape != (count,):
        raise ContractError(path.name, f"'y' has the shape {y.shape}, expected ({count},)")
    labels = None if y is None else [_label_at(path, i, value, task) for i, value in enumerate(y)]

    def read(index: int) -> Sample:
        return Sample(
            data=x[index],
            truth=Truth(label=labels[index] if labels else ""),
            slices={name: str(values[index]) for name, values in columns.items()},
        )

    return Dataset(
        name=path.name, sha256=file_sha256(path), labelled=y is not None, size=count, read=read
    )


def _refuse_not_finite(x: Array, name: str) -> None:
    """Raise ``ContractError`` for the first sample with NaN or infinity in it."""
    if not np.issubdtype(x.dtype, np.floating):
        return
    for index, row in enumerate(x):  # one at a time: a mask of all would take much memory
        if not np.isfinite(row).all():
            raise ContractError(f"{name}: x[{index}]", "holds NaN or infinity")


def _label_at(path: Path, index: int, value: object, task: Task) -> str:
    try:
        return label_of(value, task)
    except ContractError as error:
        raise ContractError(f"{path.name}: y[{index}]", error.reason) from error


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            return [{k: v or "" for k, v in row.items() if k is not None} for row in reader]
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ContractError(path.name, f"is no readable CSV: {error}") from error


def _open_csv(path: Path, task: Task, *, windowed: bool) -> Dataset:
    rows = _rows(path)
    if not rows:
        raise UsageError(f"{path}: no rows below the header")
    columns = [name for name in rows[0] if name not in ("label", "sample", "t", "timestamp")]
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        key = row["sample"] if "sample" in row else ("" if windowed else str(number))
        groups.setdefault(key, []).append(number)
    try:
        table = np.asarray([[float(row[name]) for name in columns] for row in rows], np.float32)
    except ValueError as error:
        raise ContractError(path.name, f"holds something else than numbers: {error}") from error
    _refuse_not_finite(table, path.name)
    members = list(groups.values())
    single = not windowed and "sample" not in rows[0]

    def read(index: int) -> Sample:
        numbers = members[index]
        data = table[numbers]
        if single:
            data = data[0]
        elif data.shape[1] == 1:
            data = data[:, 0]
        label = rows[numbers[0]].get("label", "")
        return Sample(data=data, truth=Truth(label=label_of(label, task)))

    return Dataset(
        name=path.name,
        sha256=file_sha256(path),
        labelled="label" in rows[0],
        size=len(members),
        read=read,
    )


def _open_folder(path: Path, task: Task, color: ColorOrder) -> Dataset:
    index = path / LABELS_FILE
    if index.is_file():
        entries = _listed(path, _rows(index), task)
    else:
        entries = [
            _Entry(file=file, label=label_of(folder.name, task))
            for folder in _class_folders(path, task)
            for file in sorted(folder.iterdir())
            if _is_sample(file)
        ]
        entries += [_Entry(file=file) for file in sorted(path.iterdir()) if _is_sample(file)]
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.file.relative_to(path)} {file_sha256(entry.file)}\n".encode())
    if index.is_file():
        digest.update(file_sha256(index).encode())

    def read(number: int) -> Sample:
        entry = entries[number]
        sound = entry.file.suffix.lower() in SOUND_SUFFIXES
        data = read_sound(entry.file) if sound else read_image(entry.file, color)
        return Sample(data=data, truth=entry.truth(data), slices=entry.slices)

    return Dataset(
        name=path.name,
        sha256=digest.hexdigest(),
        labelled=index.is_file() or any(entry.label for entry in entries),
        size=len(entries),
        read=read,
    )


@dataclass(slots=True)
class _Entry:
    file: Path
    label: str = ""
    boxes: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)
    slices: dict[str, str] = field(default_factory=dict)

    def truth(self, data: Array) -> Truth:
        """Return label and boxes, the latter from pixels to shares of the image."""
        if not self.boxes:
            return Truth(label=self.label)
        height, width = data.shape[:2]
        objects = tuple(
            Detection(
                label=label,
                score=1.0,
                box=(box[0] / width, box[1] / height, box[2] / width, box[3] / height),
            )
            for label, box in self.boxes
        )
        return Truth(objects=objects)


def _class_folders(path: Path, task: Task) -> list[Path]:
    """Return the folders named like classes; samples of a class that is none are never dropped."""
    folders = [entry for entry in sorted(path.iterdir()) if entry.is_dir()]
    for folder in folders if task.type in {"classification", "keyword"} else ():
        foreign = folder.name not in task.labels and not folder.name.startswith(".")
        if foreign and any(_is_sample(file) for file in folder.iterdir()):
            raise ContractError(
                path.name,
                f"the folder {folder.name!r} holds samples, and is none of the labels "
                f"{', '.join(task.labels)}",
            )
    return [folder for folder in folders if folder.name in task.labels]


def _is_sample(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in IMAGE_SUFFIXES | SOUND_SUFFIXES


def _listed(folder: Path, rows: Sequence[dict[str, str]], task: Task) -> list[_Entry]:
    """Return the entries of ``labels.csv``: file, label, and x1, y1, x2, y2 for boxes."""
    entries: dict[str, _Entry] = {}
    if rows and "file" not in rows[0]:
        raise ContractError(LABELS_FILE, f"has no column 'file', only {', '.join(rows[0])}")
    for number, row in enumerate(rows, start=2):
        place = f"{LABELS_FILE}:{number}"
        name = row.get("file", "")
        file = folder / name
        if not name or not file.resolve().is_relative_to(folder.resolve()):
            raise ContractError(place, f"{name!r} is no file of this folder")
        if not file.is_file():
            raise StorageError(f"{place}: {file} does not exist")
        entry = entries.setdefault(name, _Entry(file=file))
        known = {"file", "label", *_BOX_COLUMNS}
        entry.slices |= {key: value for key, value in row.items() if key not in known}
        try:
            label = label_of(row.get("label", ""), task)
            if label and row.get("x1"):
                x1, y1, x2, y2 = (float(row[key]) for key in _BOX_COLUMNS)
                entry.boxes.append((label, (x1, y1, x2, y2)))
            else:
                entry.label = label
        except ContractError as error:
            raise ContractError(place, error.reason) from error
        except (KeyError, ValueError) as error:
            raise ContractError(place, f"a box needs numbers x1, y1, x2, y2: {error}") from error
    return list(entries.values())


def read_image(path: Path, color: ColorOrder) -> Array:
    """Return an image file as uint8 ``(height, width, 3)``, or ``(height, width)`` for gray.

    Raises:
        ContractError: The file is no image.
        MissingExtraError: OpenCV is not installed.
    """
    try:
        import cv2  # noqa: PLC0415 - heavy, and only for folders of images
    except ModuleNotFoundError as error:
        raise MissingExtraError("convert", error.name) from error
    mode = cv2.IMREAD_GRAYSCALE if color == "gray" else cv2.IMREAD_COLOR
    image = cv2.imread(str(path), mode)
    if image is None:
        raise ContractError(path.name, "is no readable image")
    result: Array = image[:, :, ::-1] if color == "rgb" else image
    return np.ascontiguousarray(result)


def read_sound(path: Path) -> Array:
    """Return a 16-bit mono WAV file as float32 in -1..1.

    Raises:
        ContractError: The file is no such WAV file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != _SAMPLE_WIDTH or file.getnchannels() != 1:
                raise ContractError(path.name, "is not 16-bit mono")
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ContractError(path.name, f"is no readable WAV file: {error}") from error
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
