"""Train the bearing's autoencoder on healthy vibration and export it as ONNX with its recipe.

The network learns to reproduce the spectrum of healthy bearings through a waist of eight numbers;
what it cannot reproduce (mean squared error) is unusual. The recipe is written here and not by
hand, because the mean and spread of each band and the threshold come from the training data.

    python examples/bearing_vibration/train.py --out build/bearing

Needs PyTorch, ONNX and this repository's ``edgeops``; some ten seconds.
"""

import argparse
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch  # only this script needs it; it is no extra of ours
from torch import nn

from edgeops.contracts.preprocess import Spectrum
from edgeops.demo.render import (
    ROW_SECONDS,
    vibration,
    write_vibration_dataset,
)
from edgeops.inference.signals import spectrum

WINDOW = 1024
STEP = 512
BINS = 128
SEED = 501
HEALTHY_ROWS = 2000
FALSE_ALARMS = 0.001
"""Share of healthy windows above the threshold; a device judges window by window."""
CALIBRATION = {"seed": 2501, "n": 64}
EVALUATION = {"seed": 3501, "n": 400}

RECIPE = """\
# Unusual vibration of a bearing. Written by examples/bearing_vibration/train.py: the numbers of
# `standardize` and the threshold come from its training data. The data files are made from seeds,
# beside a copy of this recipe, by `edgeops demo` and by train.py.
model: bearing-v1.onnx
name: bearing-vibration
version: 1.0.0
task: {{type: anomaly, score: mse, aggregate: mean, threshold: {threshold}}}
input:
  layout: none
  preprocess:
    - window: {{size: {window}, step: {step}}}
    - spectrum: {{bins: {bins}, log: true}}
    - standardize:
        mean:
          [{mean}]
        std:
          [{std}]
calibration: {{data: bearing-calibration.npz, samples: 64, seed: 1}}
evaluation: {{data: bearing-evaluation.npz, metric: auc, max_drop: 0.01}}
outputs:
  - {{runtime: onnx, precision: int8}}
  - {{runtime: onnx, precision: float32}}
  - {{runtime: tflite, precision: float32}}
"""


def spectra(row: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return ``[windows, BINS]`` by the very code that runs on devices."""
    windows = np.lib.stride_tricks.sliding_window_view(row, WINDOW)[::STEP]
    return spectrum(windows, Spectrum(bins=BINS, log=True))


def healthy_spectra(seed: int, rows: int) -> npt.NDArray[np.float32]:
    """Return ``[rows, windows, BINS]`` of bearings without fault."""
    rng = np.random.default_rng(seed)
    return np.stack([spectra(vibration(rng, ROW_SECONDS, 0.0)) for _ in range(rows)])


def build_network() -> nn.Module:
    """Return the autoencoder: float32 ``[N, 128]`` standardized bands to their reproduction."""
    return nn.Sequential(
        nn.Linear(BINS, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU(),
        nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, BINS),
    )  # fmt: skip


def train(inputs: npt.NDArray[np.float32]) -> nn.Module:
    """Return the network trained to reproduce ``inputs`` ``[N, BINS]``."""
    torch.manual_seed(SEED)
    x = torch.from_numpy(inputs)
    network = build_network()
    epochs, batch = 20, 256
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.001)
    steps = len(range(0, len(x), batch)) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(x)).split(batch):
            loss = (network(x[chosen]) - x[chosen]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        print(f"epoch {epoch + 1}/{epochs} loss {total / len(x):.4f}")
    return network.eval()


def window_scores(network: nn.Module, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return ``[rows, windows]``: the squared error of each of ``[rows, windows, BINS]``."""
    with torch.no_grad():
        x = torch.from_numpy(inputs)
        error = (network(x) - x).square().mean(dim=2)
    return np.asarray(error.numpy(), dtype=np.float64)


def export(network: nn.Module, path: Path) -> None:
    """Write ``input`` float32 ``[N, 128]`` to ``output`` of the same shape."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the newer exporter needs opset 18
        torch.onnx.export(
            network,
            (torch.zeros(1, BINS),),
            str(path),
            opset_version=17,
            dynamo=False,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        )


def listed(values: Iterable[float]) -> str:
    """Return the numbers as the inside of a YAML list, eight to a line."""
    words = [f"{value:.5f}" for value in values]
    lines = [", ".join(words[start : start + 8]) for start in range(0, len(words), 8)]
    return (",\n" + " " * 11).join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the bearing's autoencoder.")
    parser.add_argument("--out", type=Path, default=Path("build/bearing"))
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the network is too small to be worth dividing
    torch.use_deterministic_algorithms(mode=True)
    started = time.monotonic()
    healthy = healthy_spectra(SEED, HEALTHY_ROWS)
    mean = healthy.mean(axis=(0, 1), dtype=np.float64).round(5)  # rounded as the recipe has them
    std = healthy.std(axis=(0, 1), dtype=np.float64).round(5)
    network = train(((healthy - mean) / std).astype(np.float32).reshape(-1, BINS))

    fresh = ((healthy_spectra(SEED + 1, 1500) - mean) / std).astype(np.float32)
    scores = window_scores(network, fresh)
    threshold = float(np.quantile(scores, 1 - FALSE_ALARMS).round(2))
    recipe = RECIPE.format(
        threshold=threshold, window=WINDOW, step=STEP, bins=BINS, mean=listed(mean), std=listed(std)
    )
    (out / "bearing.yaml").write_text(recipe)
    path = out / "bearing-v1.onnx"
    export(network, path)
    write_vibration_dataset(out / "bearing-calibration.npz", **CALIBRATION)
    write_vibration_dataset(out / "bearing-evaluation.npz", **EVALUATION)
    seconds = time.monotonic() - started
    print(f"{path}: threshold {threshold}, {path.stat().st_size} bytes, {seconds:.0f} s")


if __name__ == "__main__":
    main()
