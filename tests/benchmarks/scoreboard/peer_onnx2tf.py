"""A peer: onnx2tf's full-integer output.

    python peer_onnx2tf.py MODEL.onnx CALIBRATION.npz OUT.tflite

A script of its own: the tool pins every dependency and lives in an environment of its own. It
rewrites its input file, so it is given a copy.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def main() -> None:
    source, calibration, out = (Path(word) for word in sys.argv[1:4])
    with np.load(calibration) as archive:
        tensors, name = archive["x"], str(archive["name"])
    with tempfile.TemporaryDirectory() as work:
        copy, data = Path(work) / "model.onnx", Path(work) / "calibration.npy"
        shutil.copy(source, copy)
        stacked = tensors.reshape(-1, *tensors.shape[2:])
        image = stacked.ndim == 4  # NCHW
        np.save(data, stacked.transpose(0, 2, 3, 1) if image else stacked)
        folder = Path(work) / "out"
        tool = Path(sys.executable).with_name("onnx2tf")
        argv = [str(tool), "-i", str(copy), "-o", str(folder), "-oiqt", "-b", "1"]
        argv += ["-cind", name, str(data), "0", "1"]
        done = subprocess.run(argv, check=False, cwd=work, capture_output=True, text=True)
        made = sorted(folder.glob("*_full_integer_quant.tflite"))
        if not made:
            said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
            last = said[-1].strip() if said else f"status {done.returncode}"
            raise SystemExit(f"it wrote no full-integer file: {last}")
        shutil.copy(made[0], out)


if __name__ == "__main__":
    main()
