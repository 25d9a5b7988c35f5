"""Write everything that trying the visual inspection needs, without training anything.

The models are those that ``edgeops demo`` ships; pictures and recording are drawn from seeds, so
every machine gets the same files.

    python examples/visual_inspection/make_data.py --out ~/first-fleet

Needs this repository's ``edgeops`` with the extra ``agent``; a few seconds.
"""

import argparse
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from edgeops.demo.render import write_belt_video, write_visual_dataset

MODELS = ("visual-v1.onnx", "visual-v2.onnx", "visual-v3.onnx")
CALIBRATION = {"seed": 2001, "n": 96}
EVALUATION = {"seed": 3001, "n": 480}
RECORDING_SEED = 5
RECORDING_S = 40.0
FLAWED = ((13.0, 15.0), (25.0, 31.0))
"""A part passes every 4 s from 2 s on: those at 14, 26 and 30 s are flawed."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write models, data and a recording to try.")
    parser.add_argument("--out", type=Path, default=Path("build/visual"), help="folder for them")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    with as_file(files("edgeops.demo") / "assets") as assets:
        for name in MODELS:
            shutil.copyfile(assets / name, out / name)
    shutil.copyfile(Path(__file__).with_name("recipe.yaml"), out / "recipe.yaml")
    write_visual_dataset(out / "visual-calibration.npz", **CALIBRATION)
    write_visual_dataset(out / "visual-evaluation.npz", **EVALUATION)
    write_belt_video(out / "belt.avi", seed=RECORDING_SEED, seconds=RECORDING_S, defects=FLAWED)
    for path in sorted(path for path in out.iterdir() if path.is_file()):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
