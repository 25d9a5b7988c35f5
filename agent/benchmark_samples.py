"""Samples to measure with, invented for whatever a model takes."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgeops.bundle import Bundle
from edgeops.contracts.manifest import InputSpec, Manifest, Task, TensorSpec, Variant
from edgeops.contracts.preprocess import Resize, Step
from edgeops.contracts.scalars import Runtime
from edgeops.trust import file_sha256

CAMERA_SIZE: Final = (640, 480)
COUNT: Final = 8
MAX_CLASSES: Final = 1500
_SEED: Final = 1
_IMAGE_AXES: Final = 4

Samples = NDArray[np.uint8] | NDArray[np.float32]


def samples_for(bundle: Bundle, variant: Variant) -> Samples:
    """Return ``[n, …]`` samples: camera pictures, else the bundle's golden samples, else noise."""
    spec, tensor = bundle.manifest.inputs[0], variant.inputs[0]
    rng = np.random.default_rng(_SEED)
    if any(step.kind in {"resize", "letterbox"} for step in spec.preprocess):
        width, height = CAMERA_SIZE
        return rng.integers(0, 256, (COUNT, height, width, 3), dtype=np.uint8)
    golden = bundle.manifest.golden
    if golden is not None and bundle.path(golden.samples.file).is_file():
        with np.load(bundle.path(golden.samples.file), allow_pickle=False) as file:
            stored: Samples = file["x"]
            return stored
    if len(tensor.shape) == _IMAGE_AXES and spec.layout != "none":
        height, width, channels = _picture(tensor, spec.layout)
        return rng.integers(0, 256, (COUNT, height, width, channels), dtype=np.uint8)
    window = next((step.window for step in spec.preprocess if step.window is not None), None)
    length = window.size if window is not None else int(np.prod(tensor.shape[1:]))
    return rng.normal(0.0, 1.0, (COUNT, length)).astype(np.float32)


def _picture(tensor: TensorSpec, layout: str) -> tuple[int, int, int]:
    _, first, second, third = tensor.shape
    return (second, third, first) if layout == "nchw" else (first, second, third)


def bundle_around(
    folder: Path,
    file: str,
    runtime: Runtime,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> Bundle:
    """Return an unsigned bundle for a bare model file that stands in ``folder``.

    Pictures are resized linearly from 640x480 and scaled to 0..1 where the model takes floats;
    a few outputs are taken for classes, of many the first is taken for a score.
    """
    tensor = inputs[0]
    spec = InputSpec()
    if len(tensor.shape) == _IMAGE_AXES:
        channels_first = tensor.shape[1] in {1, 3} and tensor.shape[3] not in {1, 3}
        layout = "nchw" if channels_first else "nhwc"
        height, width, channels = _picture(tensor, layout)
        steps = [Step(resize=Resize(size=(width, height)))]
        if channels == 1:
            steps.append(Step(color="gray"))
        if tensor.dtype.startswith("float"):
            steps.append(Step(scale=1 / 255))
        spec = InputSpec(layout="nchw" if channels_first else "nhwc", preprocess=tuple(steps))
    classes = int(np.prod(outputs[0].shape))
    task = Task(type="anomaly", score="output")
    if classes <= MAX_CLASSES:
        task = Task(type="classification", labels=tuple(str(i) for i in range(classes)))
    variant = Variant(
        runtime=runtime,
        precision="float32",
        file=file,
        sha256=file_sha256(folder / file),
        size_bytes=(folder / file).stat().st_size,
        inputs=inputs,
        outputs=outputs,
    )
    manifest = Manifest(
        name="bare-model",
        version="0.0.0",
        serial=1,
        task=task,
        inputs=(spec,),
        variants=(variant,),
    )
    return Bundle(folder, manifest, b"", ())
