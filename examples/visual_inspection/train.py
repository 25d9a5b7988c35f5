"""Train the two sound versions of the visual inspection model and export them as ONNX.

Version 1 learns from few pictures for a short time; version 3 from more pictures, longer, with
compressed and differently lit copies, as a team would after weeks of collecting. Both are the same
small depthwise-separable network (about 39,000 weights). Version 2 is not trained: see
``prune_too_hard.py``.

    python examples/visual_inspection/train.py --out build/visual

Needs PyTorch, ONNX, OpenCV and this repository's ``edgeops``; about five minutes on two cores.
"""

import argparse
import shutil
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch  # only this script needs it; it is no extra of ours
from torch import nn

from edgeops.demo.render import LABELS, belt_sample, write_visual_dataset

SIDE_PX = 64
JPEG_QUALITY = 90
CALIBRATION = {"seed": 2001, "n": 96}
EVALUATION = {"seed": 3001, "n": 480}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How one version comes about.

    Attributes:
        light: Brightness of each picture is multiplied by up to this share more or less.
    """

    version: int
    seed: int
    pictures: int
    epochs: int
    light: float


VERSIONS = (
    Training(version=1, seed=101, pictures=5000, epochs=9, light=0.0),
    Training(version=3, seed=303, pictures=7500, epochs=13, light=0.15),
)


def build_network() -> nn.Module:
    """Return the network: float32 ``[N, 3, 64, 64]`` RGB in 0..1 to ``[N, 3]`` logits."""
    wide = 24
    layers = [nn.Conv2d(3, wide, 3, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
    for wider, stride in ((32, 1), (32, 1), (64, 2), (64, 1), (96, 2), (96, 1), (96, 1)):
        layers += [
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wider, 1, bias=False),
            nn.BatchNorm2d(wider),
            nn.ReLU6(),
        ]
        wide = wider
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, len(LABELS))]
    return nn.Sequential(*layers)


def draw_pictures(seed: int, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return ``x`` uint8 ``[count, 64, 64, 3]`` RGB and ``y`` ``[count]``.

    Every other picture went through JPEG, as the frames of a recording do.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(count) % len(LABELS)
    x = np.empty((count, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    for index in range(count):
        frame = belt_sample(rng, LABELS[int(y[index])])
        if rng.integers(2):
            _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            frame = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), dtype=np.uint8)
        small = cv2.resize(frame, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)
        x[index] = small[..., ::-1]
    return x, y


def train(plan: Training) -> nn.Module:
    """Return the trained network in evaluation mode."""
    torch.manual_seed(plan.seed)
    pictures, labels = draw_pictures(plan.seed, plan.pictures)
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    y = torch.from_numpy(labels)
    network = build_network()
    batch = 64
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    steps = len(range(0, len(x), batch)) * plan.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.005, total_steps=steps)
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(plan.epochs):
        network.train()
        total = 0.0
        for chosen in torch.randperm(len(x)).split(batch):
            inputs = x[chosen].float() / 255
            flipped = [axis for axis in (2, 3) if torch.rand(()) < 0.5]
            inputs = inputs.flip(flipped) if flipped else inputs
            light = 1 + plan.light * (2 * torch.rand(len(chosen), 1, 1, 1) - 1)
            loss = loss_of(network((inputs * light).clamp(0, 1)), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        print(f"version {plan.version} epoch {epoch + 1}/{plan.epochs} loss {total / len(x):.4f}")
    return network.eval()


def measure(network: nn.Module, seed: int, count: int) -> float:
    """Return the share of fresh pictures that the network names rightly."""
    pictures, labels = draw_pictures(seed, count)
    with torch.no_grad():
        inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        return float((network(inputs).argmax(1).numpy() == labels).mean())


def export(network: nn.Module, path: Path) -> None:
    """Write ``input`` float32 ``[N, 3, 64, 64]`` to ``output`` ``[N, 3]`` probabilities."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the newer exporter needs opset 18
        torch.onnx.export(
            nn.Sequential(network, nn.Softmax(dim=1)).eval(),
            (torch.zeros(1, 3, SIDE_PX, SIDE_PX),),
            str(path),
            opset_version=17,
            dynamo=False,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the visual inspection models.")
    parser.add_argument("--out", type=Path, default=Path("build/visual"))
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(mode=True)
    for plan in VERSIONS:
        started = time.monotonic()
        network = train(plan)
        path = out / f"visual-v{plan.version}.onnx"
        export(network, path)
        top1 = measure(network, seed=4001, count=1500)
        seconds = time.monotonic() - started
        print(f"{path}: top-1 {top1:.4f}, {path.stat().st_size} bytes, {seconds:.0f} s")
    shutil.copyfile(Path(__file__).with_name("recipe.yaml"), out / "visual.yaml")
    write_visual_dataset(out / "visual-calibration.npz", **CALIBRATION)
    write_visual_dataset(out / "visual-evaluation.npz", **EVALUATION)


if __name__ == "__main__":
    main()
