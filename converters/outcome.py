"""What a conversion ended with, as the command line prints it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from converters.evaluation import Answers
from converters.plan_gate import PlanMatch
from converters.quant.ladder import Attempt
from converters.variants import VariantFile
from edgeops import codec
from edgeops.errors import UnsupportedModelError

Verdict = Literal["pass", "fallback", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedVariant:
    """A model file with its figures.

    Attributes:
        drop: Loss of the deciding metric; negative where it gained.
        latency_ms: p50 and p95 of one inference on this machine, one thread.
        partitions: Parts of the graph that the runtime hands to its fast kernels; 1 is best.
            ``None`` where that is not known.
        arena_bytes: The least memory that the tensors of a TFLite file need at once.
        plan_match: How near an integer file comes to the simulation of its plan.
    """

    made: VariantFile
    size_bytes: int
    sha256: str
    answers: Answers | None
    metrics: dict[str, float] = field(default_factory=dict)
    drop: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    partitions: int | None = None
    arena_bytes: int | None = None
    plan_match: PlanMatch | None = None

    @property
    def id(self) -> str:
        """Return runtime and precision in one word, such as ``onnx-int8``."""
        return f"{self.made.output.runtime}-{self.made.output.precision}"

    def record(self) -> dict[str, object]:
        """Return the variant as the command line prints it."""
        return {
            "runtime": self.made.output.runtime,
            "precision": self.made.output.precision,
            "file": self.made.file,
            "size_bytes": self.size_bytes,
            "metrics": self.metrics,
            "drop": self.drop,
            "latency_ms": self.latency_ms,
            "float_islands": list(self.made.float_islands),
            "quantized_macs": self.made.quantized_macs,
            "partitions": self.partitions,
            "arena_bytes": self.arena_bytes,
            "plan_match": None
            if self.plan_match is None
            else codec.plain(self.plan_match.rounded()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedNode:
    """A node that has no form in a runtime, and what its owner can do about it."""

    node: str
    operator: str
    reason: str
    suggestion: str = ""


def refused_nodes(errors: Iterable[UnsupportedModelError]) -> tuple[RefusedNode, ...]:
    """Return what each error says of its node."""
    return tuple(
        RefusedNode(
            node=error.node,
            operator=error.operator,
            reason=error.reason,
            suggestion=error.suggestion,
        )
        for error in errors
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An output that was asked for and is not there, with the reason.

    Attributes:
        over_budget: It can be made, but loses more than is accepted.
        nodes: Nodes that stand in the way, where it is they.
    """

    runtime: str
    precision: str
    reason: str
    over_budget: bool = False
    nodes: tuple[RefusedNode, ...] = ()

    def record(self) -> dict[str, object]:
        """Return the refusal as the command line prints it."""
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "reason": self.reason,
            "nodes": [
                {
                    "node": node.node,
                    "operator": node.operator,
                    "reason": node.reason,
                    "suggestion": node.suggestion,
                }
                for node in self.nodes
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a conversion ended with.

    Attributes:
        bundle: Folder of the signed bundle; ``None`` when refused.
        digest: The bundle's address.
        report: The HTML page; written when refused too.
        fastest: Variant that took the least time here; all variants are within the budget.
        concessions: What is not as it was asked for, sentence by sentence.
        attempts: Rungs of the int8 ladder that were tried.
        warnings: Sentences that a person should read.
    """

    verdict: Verdict
    seconds: float
    bundle: Path | None = None
    digest: str | None = None
    report: Path | None = None
    fastest: str | None = None
    concessions: tuple[str, ...] = ()
    baseline: dict[str, float] = field(default_factory=dict)
    variants: tuple[JudgedVariant, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    warnings: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """Return the outcome as the command line prints it."""
        return {
            "bundle": None if self.bundle is None else str(self.bundle),
            "digest": self.digest,
            "seconds": round(self.seconds, 3),
            "verdict": self.verdict,
            "report": None if self.report is None else str(self.report),
            "fastest": self.fastest,
            "concessions": list(self.concessions),
            "baseline": {"metrics": self.baseline},
            "variants": [variant.record() for variant in self.variants],
            "refused": [refusal.record() for refusal in self.refusals],
            "attempts": attempt_records(self.attempts),
            "warnings": list(self.warnings),
        }


def attempt_records(attempts: tuple[Attempt, ...]) -> list[dict[str, object]]:
    """Return the rungs tried, for reports and the manifest."""
    return [
        {
            "rung": attempt.rung.name,
            "kept_float": list(attempt.rung.keep_float),
            "drop": round(attempt.drop, 6),
        }
        for attempt in attempts
    ]
