"""Other tools on the same models and the same calibration samples.

``onnxruntime.quantization`` is installed with us. The others live in environments of their own,
which variables name: ``EDGEOPS_PEER_AEQ`` and ``EDGEOPS_PEER_ONNX2TF`` are Python interpreters
that have ``ai-edge-quantizer`` and ``onnx2tf``. A peer that is not there is left out.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.datasets import open_dataset
from edgeops.bundle import open_folder
from edgeops.contracts.manifest import Variant
from edgeops.contracts.scalars import Runtime
from edgeops.inference.preprocess import Preprocessor
from tests.benchmarks.scoreboard.converting import Child, run_child

HERE: Final = Path(__file__).parent
MAX_TENSORS: Final = 100


@dataclass(frozen=True, slots=True)
class Peer:
    """Another tool.

    Attributes:
        variable: Names its interpreter; empty for ours.
        takes: Runtime of the float file that it starts from.
    """

    name: str
    script: str
    variable: str
    takes: Runtime
    gives: Runtime

    @property
    def interpreter(self) -> str:
        """Return the Python that has the tool, or nothing."""
        return os.environ.get(self.variable, "") if self.variable else sys.executable


PEERS: Final = (
    Peer("onnxruntime.quantization", "peer_ort.py", "", "onnx", "onnx"),
    Peer("ai-edge-quantizer", "peer_aeq.py", "EDGEOPS_PEER_AEQ", "tflite", "tflite"),
    Peer("onnx2tf", "peer_onnx2tf.py", "EDGEOPS_PEER_ONNX2TF", "onnx", "tflite"),
)


@dataclass(frozen=True, slots=True)
class PeerFile:
    """What a peer made, or why it made nothing."""

    path: Path | None
    runtime: Runtime
    seconds: float
    reason: str = ""


def quantize(peer: Peer, bundle: Path, calibration: Path, folder: Path) -> PeerFile:
    """Let a peer quantize the bundle's float file of its runtime."""
    folder.mkdir()
    opened = open_folder(bundle)
    variant = opened.manifest.variant(f"{peer.takes}-float32")
    if variant is None:
        return PeerFile(None, peer.gives, 0.0, "the float file could not be made")
    tensors = folder / "calibration.npz"
    np.savez(tensors, x=_tensors(bundle, variant, calibration), name=variant.inputs[0].name)
    out = folder / f"int8.{peer.gives}"
    script = str(HERE / peer.script)
    source = str(opened.path(variant.file))
    child = run_child([peer.interpreter, script, source, str(tensors), str(out)], folder)
    if child.status or not out.is_file():
        return PeerFile(None, peer.gives, child.seconds, _reason(child))
    return PeerFile(out, peer.gives, child.seconds)


def _reason(child: Child) -> str:
    """Return the last line that the tool said, without the paths of this run."""
    lines = [line.strip() for line in child.words.splitlines() if line.strip()]
    return lines[-1][:90] if lines else f"ended with status {child.status}"


def _tensors(bundle: Path, variant: Variant, calibration: Path) -> Array:
    """Return up to 100 pre-processed samples as that variant takes them."""
    manifest = open_folder(bundle).manifest
    spec = manifest.inputs[0]
    windowed = any(step.window is not None for step in spec.preprocess)
    dataset = open_dataset(calibration, manifest.task, color=spec.color, windowed=windowed)
    prepare = Preprocessor(spec, variant.inputs[0])
    found: list[Array] = []
    per_sample = max(1, MAX_TENSORS // dataset.size)
    for index in dataset.pick(MAX_TENSORS, 1):
        tensors = prepare(dataset.read(index).data).tensors
        step = max(1, len(tensors) // per_sample)
        found += [tensor.copy() for tensor in tensors[::step]]
    return np.stack(found[:MAX_TENSORS])
