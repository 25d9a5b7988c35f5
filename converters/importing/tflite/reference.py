"""A TFLite file in its own runtime, with the hub's names."""

import importlib
from collections.abc import Mapping
from typing import Protocol, TypedDict, cast

import numpy as np

from converters.arrays import Array, Feeds
from edgeops.errors import ConversionError, InferenceError
from edgeops.inference.runtimes.loading import tflite_package


class _Details(TypedDict):
    index: int


class _Interpreter(Protocol):
    def allocate_tensors(self) -> None: ...
    def reset_all_variables(self) -> None: ...
    def get_input_details(self) -> list[_Details]: ...
    def get_output_details(self) -> list[_Details]: ...
    def set_tensor(self, index: int, value: Array) -> None: ...
    def get_tensor(self, index: int) -> Array: ...
    def invoke(self) -> None: ...


class TfliteReference:
    """A loaded file; its state, if it keeps any, starts from zero for every sample.

    Args:
        data: A file that was tried out before: the runtime may crash on others.
        inputs: Hub names of the file's inputs, in its order.
        outputs: Hub names of its outputs, in its order.

    Raises:
        ConversionError: The runtime refuses the file.
        InferenceError: No TFLite runtime is installed.
    """

    def __init__(self, data: bytes, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        package = tflite_package()
        if package is None:
            raise InferenceError(
                "holding a TFLite model against its own runtime needs ai-edge-litert"
            )
        module = importlib.import_module(f"{package}.interpreter")
        try:
            self._interpreter = cast(
                "_Interpreter", module.Interpreter(model_content=data, num_threads=1)
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ConversionError(f"the TFLite runtime refuses the model: {error}") from error
        self._inputs, self._outputs = inputs, outputs

    def run(self, feeds: Feeds) -> Mapping[str, Array]:
        """Return output name -> tensor for one sample.

        Raises:
            ConversionError: The model fails on this input.
        """
        machine = self._interpreter
        try:
            machine.reset_all_variables()
            for name, detail in zip(self._inputs, machine.get_input_details(), strict=True):
                machine.set_tensor(detail["index"], np.ascontiguousarray(feeds[name]))
            machine.invoke()
            details = machine.get_output_details()
            return {
                name: machine.get_tensor(detail["index"])
                for name, detail in zip(self._outputs, details, strict=True)
            }
        except (ValueError, RuntimeError) as error:
            raise ConversionError(f"the TFLite runtime fails on a sample: {error}") from error
