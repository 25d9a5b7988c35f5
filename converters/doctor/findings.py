"""The catalogue of what the doctor knows; the documentation's table is made from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["fault", "warning", "note"]
"""It does not run somewhere; it runs worse than it could; worth knowing."""

FileFormat = Literal["tflite", "onnx"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found.

    Attributes:
        rule: Key of ``RULES``.
        where: Tensor, node or operator; the file itself where it is empty.
        what: What was found there, in one sentence.
        remedy: What to do about it.
    """

    rule: str
    severity: Severity
    where: str
    what: str
    remedy: str
    repairable: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to look for."""

    severity: Severity
    formats: tuple[FileFormat, ...]
    meaning: str
    remedy: str
    repairable: bool = False


BOTH: Final[tuple[FileFormat, ...]] = ("tflite", "onnx")

RULES: Final[Mapping[str, Rule]] = {
    "scale-axis": Rule(
        "fault",
        ("tflite",),
        "scales count an axis that the tensor does not have (biases marked with axis 3): "
        "LiteRT, tflite-runtime and TensorFlow refuse the file",
        "--repair sets the axis that has as many elements as there are scales",
        repairable=True,
    ),
    "scale-count": Rule(
        "fault",
        ("tflite",),
        "the number of scales fits no axis of the tensor",
        "quantize the float model again",
    ),
    "bad-scale": Rule(
        "fault",
        ("tflite",),
        "a scale is zero, negative, infinite or no number",
        "quantize the float model again",
    ),
    "kernel-version": Rule(
        "fault",
        ("tflite",),
        "an operator's version is newer than the kernels of a runtime",
        "--repair stamps the newest version that all runtimes know, if the outputs stay equal",
        repairable=True,
    ),
    "custom-operator": Rule(
        "warning",
        ("tflite",),
        "an operator that is not part of TFLite: runtimes need it built in",
        "export the model without it, and compute it outside",
    ),
    "no-signature": Rule(
        "note",
        ("tflite",),
        "no signature names inputs and outputs: tools must go by position",
        "--repair adds one from the tensors' names",
        repairable=True,
    ),
    "hybrid": Rule(
        "note",
        ("tflite",),
        "int8 weights beside float activations: not a float model, whatever its name says",
        "edgeops convert takes its weights, in float32, as the float reference",
    ),
    "zero-points": Rule(
        "note",
        ("tflite",),
        "zero points per channel that are all zero are stored again for every tensor",
        "--repair stores them once",
        repairable=True,
    ),
    "old-opset": Rule(
        "warning",
        ("onnx",),
        "an operator set below 13 knows no scales per channel, and tools drop support for it",
        "--repair lifts it",
        repairable=True,
    ),
    "too-new": Rule(
        "fault",
        ("onnx",),
        "container or operator set is newer than the installed ONNX Runtime",
        "--repair writes the newest version that it reads",
        repairable=True,
    ),
    "runtime-refuses": Rule(
        "fault", BOTH, "the installed runtime does not load or run the file", "see the reason"
    ),
    "unnamed-nodes": Rule(
        "warning",
        ("onnx",),
        "nodes without a name of their own: tools that exclude layers by name then exclude all",
        "--repair names them",
        repairable=True,
    ),
    "channel-scales-too-early": Rule(
        "fault",
        ("onnx",),
        "scales per channel below operator set 13: no runtime loads them",
        "quantize the float model again at operator set 13 or later",
    ),
    "s8s8": Rule(
        "warning",
        ("onnx",),
        "int8 activations: on x86, ONNX Runtime leaves such layers in float or takes slow kernels",
        "quantize activations to uint8 for x86 (edgeops convert --target cpu-x86-ort)",
    ),
    "batchnorm": Rule(
        "note",
        ("onnx",),
        "BatchNormalization is still a layer of its own",
        "edgeops convert folds it into the layer before",
    ),
    "control-flow": Rule(
        "warning",
        ("onnx",),
        "nodes that hold graphs (If, Loop, Scan): only the ONNX Runtime runs them, unconverted",
        "export the branch that inference takes",
    ),
    "other-domain": Rule(
        "note",
        ("onnx",),
        "operators outside ONNX's own set: they have no TFLite form",
        "such models are deployed as ONNX",
    ),
    "not-finite": Rule(
        "fault",
        BOTH,
        "weights that are infinite or no numbers: every output is spoiled",
        "train or export again",
    ),
    "dead-channels": Rule(
        "warning",
        BOTH,
        "output channels whose weights are all zero compute nothing",
        "edgeops convert --prune removes channels",
    ),
    "half-precision": Rule(
        "note",
        BOTH,
        "weights in float16",
        "edgeops convert imports them in float32",
    ),
    "open-shape": Rule(
        "note",
        BOTH,
        "dimensions left open: XNNPACK and most accelerators need fixed ones",
        "edgeops convert binds the batch to 1; give the rest with --shape",
    ),
    "quantized": Rule(
        "note",
        BOTH,
        "activations are integers already",
        "deploy it as it is, or convert the float model it was made from",
    ),
}


def finding(rule: str, where: str, what: str) -> Finding:
    """Return a finding of ``rule``, with the remedy that the catalogue names."""
    known = RULES[rule]
    return Finding(
        rule=rule,
        severity=known.severity,
        where=where,
        what=what,
        remedy=known.remedy,
        repairable=known.repairable,
    )


def table() -> str:
    """Return the catalogue as the documentation shows it."""
    lines = ["| finding | weight | files | means | what to do |", "|---|---|---|---|---|"]
    for name, rule in sorted(RULES.items()):
        files = ", ".join(rule.formats)
        lines.append(f"| `{name}` | {rule.severity} | {files} | {rule.meaning} | {rule.remedy} |")
    return "\n".join(lines) + "\n"
