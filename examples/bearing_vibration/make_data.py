"""Write everything that trying the bearing's vibration needs, without training anything.

The model is the one that ``edgeops demo`` ships; signals are drawn from seeds, so every machine
gets the same files.

    python examples/bearing_vibration/make_data.py --out ~/device-alone

Needs this repository's ``edgeops``; a second or two.
"""

import argparse
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from edgeops.demo.render import write_vibration_csv, write_vibration_dataset

MODEL = "bearing-v1.onnx"
CALIBRATION = {"seed": 2501, "n": 64}
EVALUATION = {"seed": 3501, "n": 400}
RECORDING_SEED = 7
RECORDING_S = 60.0
FAULTS = ((30.0, 50.0),)
"""The damage grows from 30 s to 50 s."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the model, data and a recording to try.")
    parser.add_argument("--out", type=Path, default=Path("build/bearing"), help="folder for them")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    with as_file(files("edgeops.demo") / "assets") as assets:
        shutil.copyfile(assets / MODEL, out / MODEL)
    shutil.copyfile(Path(__file__).with_name("recipe.yaml"), out / "recipe.yaml")
    write_vibration_dataset(out / "bearing-calibration.npz", **CALIBRATION)
    write_vibration_dataset(out / "bearing-evaluation.npz", **EVALUATION)
    write_vibration_csv(
        out / "bearing.csv", seed=RECORDING_SEED, seconds=RECORDING_S, faults=FAULTS
    )
    for path in sorted(path for path in out.iterdir() if path.is_file()):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
