"""Signed bundles around plain model files, by the contracts that real ones are made with."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeops.bundle import Bundle, file_ref, write_manifest
from edgeops.contracts.manifest import Golden, InputSpec, Manifest, Task, Variant
from edgeops.contracts.scalars import Precision
from edgeops.inference import golden
from edgeops.inference.arrays import Array
from edgeops.inference.model import Model
from edgeops.inference.runtimes.loading import open_model, runtime_of
from edgeops.trust import SigningKey

_GOLDEN_SAMPLES = 4
_WINDOWS = 4


def make_bundle(
    folder: Path,
    *,
    task: Task,
    input: InputSpec,  # noqa: A002  # the recipe's word
    key: SigningKey,
    onnx_path: Path | None = None,
    tflite_path: Path | None = None,
    precision: Precision = "float32",
    name: str = "tiny",
    version: str = "1.0.0",
    serial: int = 1,
    samples: Array | None = None,
    with_golden: bool = True,
    development: bool = False,
) -> Bundle:
    """Write a signed bundle folder around one or two model files.

    Args:
        folder: New folder of the bundle.
        task: What the outputs mean.
        input: Pre-processing, the same for all variants.
        key: Release key that signs.
        onnx_path: Model for the variant ``onnx-{precision}``.
        tflite_path: Model for the variant ``tflite-{precision}``; preferred where both are given.
        precision: What the manifest calls the models.
        name: The model's name.
        version: Its version.
        serial: Its serial.
        samples: ``[n, …]`` raw golden samples; by default generated from a fixed seed.
        with_golden: Put golden samples in; a model that only answers NaN can have none.
        development: Mark as signed with a development key.

    Raises:
        InferenceError: A model does not fit ``task`` and ``input``.
    """
    folder.mkdir(parents=True)
    paths = [path for path in (tflite_path, onnx_path) if path is not None]
    variants = tuple(_variant(folder, path, input, precision) for path in paths)
    manifest = Manifest(
        name=name,
        version=version,
        serial=serial,
        task=task,
        inputs=(input,),
        variants=variants,
        development=development,
    )
    if with_golden:
        chosen = _samples(input, variants[0]) if samples is None else samples
        manifest = replace(manifest, golden=_golden(folder, manifest, chosen))
    return write_manifest(folder, manifest, key)


def _variant(folder: Path, source: Path, spec: InputSpec, precision: Precision) -> Variant:
    runtime = runtime_of(source)
    file = f"{runtime}-{precision}{source.suffix}"
    shutil.copyfile(source, folder / file)
    loaded = open_model(folder / file, runtime)
    ref = file_ref(folder, file)
    layout = spec.layout
    if runtime == "tflite" and layout == "nchw":
        layout = "nhwc"
    inputs = tuple(replace(tensor, layout=layout) for tensor in loaded.inputs)
    outputs = loaded.outputs
    loaded.close()
    return Variant(
        runtime=runtime,
        precision=precision,
        file=file,
        sha256=ref.sha256,
        size_bytes=ref.size_bytes,
        inputs=inputs,
        outputs=outputs,
    )


def _golden(folder: Path, manifest: Manifest, samples: Array) -> Golden:
    unsigned = Bundle(folder, manifest, b"", ())
    models = {variant.id: Model.load(unsigned, variant) for variant in manifest.variants}
    try:
        return golden.write(folder, models, samples)
    finally:
        for model in models.values():
            model.close()


def _samples(spec: InputSpec, variant: Variant) -> Array:
    """Return samples that the pre-processing takes: images, or signals where it has no layout."""
    rng = np.random.default_rng(1)
    tensor = variant.inputs[0]
    if tensor.layout != "none":
        shape = tensor.shape[1:]
        if tensor.layout == "nchw":
            shape = (*shape[1:], shape[0])
        images = rng.integers(0, 256, (_GOLDEN_SAMPLES, *shape), dtype=np.uint8)
        # One colour dominates in each, so that a classifier's answers differ from each other.
        for index, image in enumerate(images):
            image[..., index % shape[-1]] |= 0x80
        return images
    window = next((step.window for step in spec.preprocess if step.window is not None), None)
    length = tensor.shape[-1] if window is None else window.size + _WINDOWS * window.step
    return rng.normal(0.0, 0.5, (_GOLDEN_SAMPLES, length)).astype(np.float32)
