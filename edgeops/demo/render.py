"""Recordings and data sets for the two demo models, written from seeds.

The same seed gives the same file, so that nothing but the weights has to be shipped. Seeds of
training, calibration, evaluation and recordings must differ: see the model cards in ``assets``.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from edgeops.demo.belt import (
    FRAMES_PER_S,
    HEIGHT_PX,
    LABELS,
    WIDTH_PX,
    Frame,
    Interval,
    Label,
    belt_frames,
    belt_passes,
    belt_sample,
)
from edgeops.demo.vibration import RATE_HZ, Signal, vibration
from edgeops.durable import write_atomic
from edgeops.errors import ContractError, StorageError

__all__ = [
    "FRAMES_PER_S",
    "LABELS",
    "RATE_HZ",
    "Frame",
    "Interval",
    "Label",
    "Signal",
    "belt_sample",
    "vibration",
    "write_belt_video",
    "write_vibration_csv",
    "write_vibration_dataset",
    "write_visual_dataset",
]

MAX_SAMPLES: Final = 20_000
ROW_SECONDS: Final = 4
"""One row of the vibration data: 4 s = 4096 values = 7 windows of 1024 with step 512."""
FAULT_RANGE: Final = (0.05, 1.0)


def write_belt_video(
    path: Path, *, seed: int, seconds: float, defects: Sequence[tuple[float, float]]
) -> list[Interval]:
    """Write a Motion JPEG video (160x120, 10 frames/s) and, beside it, ``<name>.truth.json``.

    Motion JPEG in AVI is encoded by OpenCV itself, so every build writes and reads it.

    Args:
        path: Ends with ``.avi``.
        seed: Chooses parts, flaws, light and noise.
        seconds: Up to an hour; a part passes mid-picture at 2 s, 6 s, 10 s ...
        defects: Parts that pass mid-picture in one of these ``(start_s, end_s)`` are flawed.

    Returns:
        When a whole flawed part is in view, in order: 1.06 s for each flawed part. Around each,
        for another 0.2 s, the part is nearly whole and any answer is fair.

    Raises:
        ContractError: ``path``, ``seconds`` or ``defects`` make no sense.
        StorageError: The video cannot be written whole.
    """
    import cv2  # noqa: PLC0415 - devices that read sensors only do without OpenCV

    if path.suffix != ".avi":
        raise ContractError("path", f"expected a name ending with .avi, found {path.name!r}")
    passes = belt_passes(seed=seed, seconds=seconds, defects=defects)
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_OPENCV_MJPEG, codec, float(FRAMES_PER_S), (WIDTH_PX, HEIGHT_PX)
    )
    if not writer.isOpened():
        raise StorageError(f"cannot write {path}: the video cannot be opened")
    try:
        for frame in belt_frames(passes, seed=seed, seconds=seconds):
            writer.write(frame)
    finally:
        writer.release()
    expected, found = round(seconds * FRAMES_PER_S), _count_frames(path)
    if found != expected:
        raise StorageError(f"cannot write {path}: {found} of {expected} frames arrived on disk")
    inspected = [
        (one.inspected, one.label, one.part.flaw.kind if one.part.flaw else None)
        for one in passes
        if one.inspected.start_s < seconds
    ]
    truth = [
        {
            "start_s": round(seen.start_s, 3),
            "end_s": round(seen.end_s, 3),
            "label": label,
            "flaw": flaw,
        }
        for seen, label, flaw in inspected
    ]
    text = json.dumps({"frames": expected, "fps": FRAMES_PER_S, "parts": truth}, indent=1)
    write_atomic(path.with_suffix(".truth.json"), (text + "\n").encode())
    return [
        Interval(seen.start_s, min(seen.end_s, seconds))
        for seen, label, _ in inspected
        if label == "defect"
    ]


def write_visual_dataset(path: Path, seed: int, n: int) -> None:
    """Write an ``.npz``: ``x`` uint8 ``[n, 120, 160, 3]`` RGB, ``y`` int64 ``[n]``.

    ``y`` counts through ``LABELS``, so that classes are equally frequent.

    Raises:
        ContractError: ``n`` is out of range.
        StorageError: The file cannot be written.
    """
    _check_count(n)
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(LABELS)
    x = np.empty((n, HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    for index in range(n):
        x[index] = belt_sample(rng, LABELS[int(y[index])])[..., ::-1]  # BGR to RGB
    _write_npz(path, x, y)


def write_vibration_csv(
    path: Path, *, seed: int, seconds: float, faults: Sequence[tuple[float, float]]
) -> list[Interval]:
    """Write ``t,accel_g`` at 1024 Hz; in each of ``faults`` the damage grows from small to full.

    Returns:
        The intervals, cut to the length of the recording.

    Raises:
        ContractError: ``seconds`` or ``faults`` make no sense.
        StorageError: The file cannot be written.
    """
    for index, (start_s, end_s) in enumerate(faults):
        if not 0.0 <= start_s < end_s or start_s >= seconds:
            reason = f"expected a time inside {seconds} s, found {start_s} to {end_s} s"
            raise ContractError(f"faults[{index}]", reason)
    count = round(seconds * RATE_HZ)
    t = np.arange(count) / RATE_HZ
    severity = np.zeros(count, dtype=np.float32)
    for start_s, end_s in faults:
        inside = (t >= start_s) & (t < end_s)
        growth = (t[inside] - start_s) / (end_s - start_s)
        severity[inside] = 0.4 + 0.6 * growth
    value = vibration(np.random.default_rng(seed), seconds, severity)
    text = io.StringIO()
    text.write("t,accel_g\n")
    np.savetxt(text, np.column_stack([t, value]), fmt=("%.6f", "%.5f"), delimiter=",")
    write_atomic(path, text.getvalue().encode())
    return [Interval(start_s, min(end_s, seconds)) for start_s, end_s in faults]


def write_vibration_dataset(path: Path, seed: int, n: int) -> None:
    """Write an ``.npz``: ``x`` float32 ``[n, 4096]`` in g, ``y`` int64 ``[n]``, 1 = faulty.

    Every other row is faulty, with a severity from barely there to full.

    Raises:
        ContractError: ``n`` is out of range.
        StorageError: The file cannot be written.
    """
    _check_count(n)
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = np.empty((n, ROW_SECONDS * RATE_HZ), dtype=np.float32)
    for index in range(n):
        fault = rng.uniform(*FAULT_RANGE) if y[index] else 0.0
        x[index] = vibration(rng, ROW_SECONDS, fault)
    _write_npz(path, x, y)


def _check_count(n: int) -> None:
    if not 1 <= n <= MAX_SAMPLES:
        raise ContractError("n", f"expected 1 to {MAX_SAMPLES} samples, found {n}")


def _write_npz(path: Path, x: npt.NDArray[np.generic], y: npt.NDArray[np.int64]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x, y=y)  # members carry no time: the same arrays, the same bytes
    write_atomic(path, buffer.getvalue())


def _count_frames(path: Path) -> int:
    import cv2  # noqa: PLC0415 - see write_belt_video

    capture = cv2.VideoCapture(str(path), cv2.CAP_OPENCV_MJPEG)
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()
