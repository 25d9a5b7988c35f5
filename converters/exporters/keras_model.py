"""Keras models and SavedModels: exported by ``tf2onnx``, run by TensorFlow.

Both go one way: a ``tf.function`` of fixed input shapes is frozen and translated. Image
inputs keep TensorFlow's NHWC; the ONNX file starts with a Transpose.
"""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf2onnx

from converters.arrays import Array
from converters.exporters.code import make
from converters.exporters.onnx_tidying import tidy
from converters.exporters.request import Exported, Request
from edgeops.errors import ConversionError, StorageError, UsageError

OPSET: Final = 17
MAX_CONFIG_BYTES: Final = 64 << 20
SIGNATURE: Final = "serving_default"

_CONFIG: Final = "config.json"
_LAMBDA: Final = "Lambda"


def export_keras(request: Request) -> Exported:
    """Return the Keras model of a ``.keras`` or ``.h5`` file, or that a factory makes.

    Raises:
        UsageError: It is no Keras model, or an input shape is open.
        StorageError: The file cannot be read.
        ConversionError: It carries code (a Lambda layer).
    """
    keras.utils.set_random_seed(0)
    if request.is_code:
        model = make(request.spec, request.root)
        if not isinstance(model, keras.Model):
            raise UsageError(
                f"{request.spec!r} made {type(model).__name__}, expected a keras.Model"
            )
    else:
        path = request.existing_path()
        refuse_code(_configuration(path), path.name)
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    if not hasattr(model, "inputs"):
        raise UsageError(
            f"{request.spec} is a {type(model).__name__} whose inputs only its code knows: make "
            "it a functional model, or a Sequential that starts with keras.Input"
        )
    names = [str(tensor.name).partition(":")[0] for tensor in model.inputs]
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    types = [tf.as_dtype(tensor.dtype) for tensor in model.inputs]
    # A Sequential has one output and no name for it but its last layer's.
    outputs = [str(n) for n in getattr(model, "output_names", [model.layers[-1].name])]

    def call(*tensors: tf.Tensor) -> "list[tf.Tensor]":
        answer = model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
        return list(tf.nest.flatten(answer))

    return _export(call, _specs(request, names, shapes, types), outputs)


def export_savedmodel(request: Request) -> Exported:
    """Return the default signature of a SavedModel folder.

    Raises:
        UsageError: An input shape is open.
        StorageError: There is no such folder.
        ConversionError: It has no signature to serve.
    """
    path = request.existing_path()
    loaded = tf.saved_model.load(str(path))
    if SIGNATURE not in loaded.signatures:
        raise ConversionError(
            f"{path.name} has no signature {SIGNATURE!r}, only {sorted(loaded.signatures)}"
        )
    signature = loaded.signatures[SIGNATURE]
    inputs = dict(sorted(signature.structured_input_signature[1].items()))
    outputs = sorted(signature.structured_outputs)
    names = list(inputs)
    shapes = [tuple(spec.shape) for spec in inputs.values()]
    types = [spec.dtype for spec in inputs.values()]

    def call(*tensors: tf.Tensor) -> "list[tf.Tensor]":
        answers = signature(**dict(zip(names, tensors, strict=True)))
        return [answers[name] for name in outputs]

    return _export(call, _specs(request, names, shapes, types), outputs)


def _configuration(path: Path) -> object:
    """Return the architecture that a file states, read as data.

    Raises:
        StorageError: The file cannot be read.
        ConversionError: It is no Keras model.
    """
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo(_CONFIG).file_size > MAX_CONFIG_BYTES:
                    raise ConversionError(f"{path.name}: its configuration is too large")
                return json.loads(archive.read(_CONFIG))
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["model_config"])
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ConversionError(f"{path.name} is no Keras model, or damaged") from error
    except OSError as error:
        if error.errno is None:  # HDF5's way to say that it is no such file
            raise ConversionError(f"{path.name} is no Keras model, or damaged") from error
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def refuse_code(configuration: object, title: str) -> None:
    """Refuse a configuration with a Lambda layer anywhere, before anything is built.

    Raises:
        ConversionError: There is one.
    """
    waiting = [configuration]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            if item.get("class_name") in (_LAMBDA, "__lambda__"):
                raise ConversionError(
                    f"{title} has a Lambda layer, which carries code: write it as a layer class, "
                    "or name module:factory that builds the model"
                )
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _specs(
    request: Request,
    names: Sequence[str],
    shapes: Sequence[tuple[int | None, ...]],
    types: Sequence[tf.DType],
) -> "list[tf.TensorSpec]":
    """Return the inputs with batch 1 and every dimension bound.

    Raises:
        UsageError: A dimension stays open, or a shape given is for no input.
    """
    if len(request.shapes) == len(names) and not set(request.shapes) & set(names):
        names = list(request.shapes)  # Keras numbers inputs without a name; any name is better
    unknown = sorted(set(request.shapes) - set(names))
    if unknown:
        raise UsageError(f"no input is called {unknown[0]!r}; there are {', '.join(names)}")
    specs = []
    for name, shape, dtype in zip(names, shapes, types, strict=True):
        bound = request.shapes.get(name, (shape[0] or 1, *shape[1:]) if shape else ())
        if None in bound or len(bound) != len(shape):
            raise UsageError(
                f"input {name!r} is {list(shape)}: give all dimensions, such as "
                f"--shape {name}={','.join(str(size or 32) for size in (1, *shape[1:]))}"
            )
        specs.append(tf.TensorSpec(bound, dtype, name=name))
    return specs


def _export(
    call: "Callable[..., list[tf.Tensor]]",
    specs: "list[tf.TensorSpec]",
    outputs: list[str],
) -> Exported:
    def named(*tensors: tf.Tensor) -> "dict[str, tf.Tensor]":
        return {
            name: tf.identity(tensor, name=name)
            for name, tensor in zip(outputs, call(*tensors), strict=True)
        }

    function = tf.function(named, input_signature=specs, autograph=False)
    model, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET)
    found = [value.name for value in model.graph.output]
    if len(found) != len(outputs):
        raise ConversionError(f"the export has the outputs {found}, expected {outputs}")

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        answers = function(*(tf.constant(feeds[spec.name], dtype=spec.dtype) for spec in specs))
        return {name: _array(answers[name]) for name in outputs}

    return Exported(onnx=tidy(model), run=run, notes=())


def _array(tensor: tf.Tensor) -> Array:
    array: Array = tensor.numpy()
    return array.astype(np.float32) if array.dtype.kind == "f" else array
