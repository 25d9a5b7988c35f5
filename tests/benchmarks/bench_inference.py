"""What our path from frame to result costs over the bare runtime.

    python tests/benchmarks/bench_inference.py [DATA_FOLDER]

Three ways take turns on the same frames, so that a busy machine is busy for all of them:
``bare`` hands one ready tensor to the runtime again and again; ``loop`` is the plain loop that
one would write by hand (OpenCV, the runtime, argmax or nothing); ``ours`` is ``Model.predict``.
Figures are medians of rounds, one thread. Nothing is asserted: figures depend on the machine.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgeops.contracts.manifest import InputSpec, Task
from edgeops.contracts.preprocess import Letterbox, Normalize, Resize, Step
from edgeops.contracts.scalars import Runtime
from edgeops.inference.arrays import Array
from edgeops.inference.model import Model
from edgeops.inference.runtimes.loading import open_model, runtime_version

ROUNDS = 15
ROUND_S = 0.15
FRAME = (480, 640, 3)


@dataclass(frozen=True)
class Case:
    """One model, and how a hand-written loop prepares a BGR frame for it."""

    name: str
    file: str
    runtime: Runtime
    task: Task
    spec: InputSpec
    by_hand: Callable[[Array], Array]


def classes(count: int) -> Task:
    return Task(type="classification", labels=tuple(f"class-{i}" for i in range(count)))


def to_float_nhwc(frame: Array, side: int, mean: float, std: float) -> Array:
    small = cv2.cvtColor(cv2.resize(np.asarray(frame, np.uint8), (side, side)), cv2.COLOR_BGR2RGB)
    return ((small.astype(np.float32) - np.float32(mean)) / np.float32(std))[None]


def to_bytes_nhwc(frame: Array, side: int, *, signed: bool) -> Array:
    small = cv2.cvtColor(cv2.resize(np.asarray(frame, np.uint8), (side, side)), cv2.COLOR_BGR2RGB)
    if signed:
        return (small.astype(np.int16) - 128).astype(np.int8)[None]
    return small[None]


def to_letterbox_nchw(frame: Array) -> Array:
    canvas = np.full((416, 416, 3), 114, dtype=np.uint8)
    canvas[:312] = cv2.resize(np.asarray(frame, np.uint8), (416, 312))
    return np.ascontiguousarray(canvas.transpose(2, 0, 1), dtype=np.float32)[None]


def resized(side: int, mean: float, std: float) -> tuple[Step, ...]:
    return (
        Step(resize=Resize(size=(side, side))),
        Step(normalize=Normalize(mean=(mean,), std=(std,))),
    )


def cases() -> list[Case]:
    ssd = Task(
        type="detection", decoder="ssd", labels=tuple(f"class-{index}" for index in range(91))
    )
    yolox = Task(
        type="detection", decoder="yolox", labels=tuple(f"class-{index}" for index in range(80))
    )
    return [
        Case(
            "yolox_nano 416 float onnx",
            "detect/models/yolox_nano.onnx",
            "onnx",
            yolox,
            InputSpec(
                layout="nchw",
                preprocess=(Step(letterbox=Letterbox(size=(416, 416))), Step(color="bgr")),
            ),
            to_letterbox_nchw,
        ),
        Case(
            "ssd_mobilenet_v1 300 uint8 tflite",
            "detect/models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
            "tflite",
            ssd,
            InputSpec(layout="nhwc", preprocess=resized(300, 128.0, 128.0)),
            lambda frame: to_bytes_nhwc(frame, 300, signed=False),
        ),
        Case(
            "mobilenet_v2_0.35 128 float onnx",
            "classify/mobilenet_v2_0.35_128_flowers.onnx",
            "onnx",
            classes(5),
            InputSpec(layout="nchw", preprocess=resized(128, 127.5, 127.5)),
            lambda frame: np.ascontiguousarray(
                to_float_nhwc(frame, 128, 127.5, 127.5).transpose(0, 3, 1, 2)
            ),
        ),
        Case(
            "mobilenet_v1_0.25 224 float tflite",
            "classify/mobilenet_v1_0.25_224_float.tflite",
            "tflite",
            classes(1001),
            InputSpec(layout="nhwc", preprocess=resized(224, 127.5, 127.5)),
            lambda frame: to_float_nhwc(frame, 224, 127.5, 127.5),
        ),
        Case(
            "vww 96 int8 tflite",
            "mlperf_tiny/models/vww_96_int8.tflite",
            "tflite",
            classes(2),
            InputSpec(layout="nhwc", preprocess=resized(96, 0.0, 255.0)),
            lambda frame: to_bytes_nhwc(frame, 96, signed=True),
        ),
    ]


def per_second(action: Callable[[], object]) -> float:
    """Return how often ``action`` is done in a second."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < ROUND_S:
        action()
        count += 1
    return count / spent


def measure(case: Case, folder: Path) -> str:
    frame = np.random.default_rng(0).integers(0, 256, FRAME, dtype=np.uint8)
    runtime = open_model(folder / case.file, case.runtime)
    model = Model.open(folder / case.file, case.runtime, task=case.task, spec=case.spec)
    ready = [case.by_hand(frame)]
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: runtime.run(ready),
        "loop": lambda: runtime.run([case.by_hand(frame)]),
        "ours": lambda: model.predict(frame, "bgr"),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for action in ways.values():
        action()
    for _ in range(ROUNDS):
        for name, action in ways.items():
            rates[name].append(per_second(action))
    bare, loop, ours = (statistics.median(rates[name]) for name in ("bare", "loop", "ours"))
    return (
        f"{case.name:36} {1000 / bare:8.3f} {1000 / loop:8.3f} {1000 / ours:8.3f}"
        f" {ours / bare:10.3f} {ours / loop:10.3f}"
    )


def main() -> None:
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EDGEOPS_DATA", default))
    cv2.setNumThreads(1)
    out = sys.stdout
    out.write(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    out.write(f", NumPy {np.__version__}, OpenCV {cv2.__version__}")
    out.write(f", onnxruntime {runtime_version('onnx')}, tflite {runtime_version('tflite')}\n")
    out.write(f"{'ms per frame (640x480)':36} {'bare':>8} {'loop':>8} {'ours':>8}")
    out.write(f" {'ours/bare':>10} {'ours/loop':>10}\n")
    for case in cases():
        out.write(measure(case, folder) + "\n")


if __name__ == "__main__":
    main()
