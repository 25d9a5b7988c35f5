"""A peer: ai-edge-quantizer's static int8 recipe on a float TFLite file.

    python peer_aeq.py MODEL.tflite CALIBRATION.npz OUT.tflite

A script of its own: the tool pins its runtime and lives in an environment of its own.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe


def main() -> None:
    source, calibration, out = (Path(word) for word in sys.argv[1:4])
    with np.load(calibration) as archive:
        tensors = archive["x"]
    interpreter = Interpreter(str(source))
    (signature, ends), *_ = interpreter.get_signature_list().items()
    feeds = [{ends["inputs"][0]: tensor} for tensor in tensors]
    tool = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    result = tool.calibrate({signature: feeds})
    tool.quantize(result).export_model(str(out), overwrite=True)


if __name__ == "__main__":
    main()
