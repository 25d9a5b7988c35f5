"""Run a lowered model with LiteRT inside this process: how the converter checks its files."""

from collections.abc import Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from converters.arrays import Array
from converters.tflite.layout import NHWC
from converters.tflite.lowering import TfliteModel
from edgeops.contracts.scalars import Layout
from edgeops.errors import ConversionError


class LiteRtModel:
    """A loaded ``TfliteModel``, single-threaded.

    Args:
        model: What ``lower_to_tflite`` made.
        layout: Of the images that ``run`` is given.
        delegate: Whether XNNPACK may compute what it knows; without it every operator runs
            in the builtin kernel, as on boards for which XNNPACK was not built.

    Raises:
        ConversionError: The runtime refuses the file.
    """

    def __init__(
        self, model: TfliteModel, *, layout: Layout = "nchw", delegate: bool = True
    ) -> None:
        self._model = model
        self._layout = layout
        kernels = (
            OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        try:
            self._interpreter = Interpreter(
                model_content=model.data, num_threads=1, experimental_op_resolver_type=kernels
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ConversionError(f"LiteRT refuses the file: {_sentence(error)}") from error

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return output name -> tensor for one sample in ONNX's axes.

        Raises:
            ConversionError: The model fails on this sample.
        """
        try:
            for detail in self._interpreter.get_input_details():
                value = feeds[detail["name"]]
                if self._model.input_layouts[detail["name"]] == "nhwc" and self._layout == "nchw":
                    value = value.transpose(NHWC)
                self._interpreter.set_tensor(detail["index"], np.require(value, requirements="C"))
            self._interpreter.invoke()
            return {
                detail["name"]: np.asarray(self._interpreter.get_tensor(detail["index"]))
                for detail in self._interpreter.get_output_details()
            }
        except (RuntimeError, ValueError) as error:
            raise ConversionError(f"LiteRT fails on a sample: {_sentence(error)}") from error


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
