"""What a conversion ended with, as the command line prints it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from converters.evaluation import Answers
from converters.quant.ladder import Attempt
from converters.variants import VariantFile

Verdict = Literal["pass", "fallback", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedVariant:
    """A model file with its figures.

    Attributes:
        drop: Loss of the deciding metric; negative where it gained.
        latency_ms: p50 and p95 of one inference on this machine, one thread.
    """

    made: VariantFile
    size_bytes: int
    sha256: str
    answers: Answers | None
    metrics: dict[str, float] = field(default_factory=dict)
    drop: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)

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
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An output that was asked for and could not be made, with the reason."""

    runtime: str
    precision: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a conversion ended with.

    Attributes:
        bundle: Folder of the signed bundle; ``None`` when refused.
        digest: The bundle's address.
        attempts: Rungs of the int8 ladder that were tried.
        warnings: Sentences that a person should read.
    """

    verdict: Verdict
    seconds: float
    bundle: Path | None = None
    digest: str | None = None
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
            "baseline": {"metrics": self.baseline},
            "variants": [variant.record() for variant in self.variants],
            "refused": [
                {"runtime": r.runtime, "precision": r.precision, "reason": r.reason}
                for r in self.refusals
            ],
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
