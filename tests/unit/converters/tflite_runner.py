"""Run a lowered model with LiteRT, feeding ONNX's layouts."""

from collections.abc import Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from converters.arrays import Array
from converters.tflite.lowering import TfliteModel
from edgeops.contracts.scalars import Layout


class TfliteRunner:
    """A loaded ``TfliteModel``; inputs are given in ONNX's order, which is ``layout``."""

    def __init__(self, model: TfliteModel, layout: Layout = "nchw") -> None:
        self._model = model
        self._layout = layout
        self._interpreter = Interpreter(model_content=model.data, num_threads=1)
        self._interpreter.allocate_tensors()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return output name -> tensor."""
        for detail in self._interpreter.get_input_details():
            value = feeds[detail["name"]]
            wanted = self._model.input_layouts[detail["name"]]
            if wanted == "nhwc" and self._layout == "nchw":
                value = value.transpose(0, 2, 3, 1)
            self._interpreter.set_tensor(detail["index"], np.ascontiguousarray(value))
        self._interpreter.invoke()
        return {
            detail["name"]: np.asarray(self._interpreter.get_tensor(detail["index"]))
            for detail in self._interpreter.get_output_details()
        }
