"""Manifest and report of a conversion, from what was made."""

from dataclasses import dataclass, replace
from pathlib import Path

from converters.appraisal import appraise
from converters.making import Made
from converters.outcome import Conversion
from converters.release import make_manifest
from converters.report.contents import Report
from converters.report.files import write_inside
from converters.report.record import make_report
from edgeops.contracts.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """A conversion with its documents.

    Attributes:
        outcome: With the warnings that judging in depth gave.
        report: Without digest and duration, which are known last.
        manifest: Names the report inside the bundle; ``None`` where the verdict is ``refused``.
    """

    outcome: Conversion
    report: Report
    manifest: Manifest | None

    def timed(self, done: Conversion) -> Report:
        """Return the report with what is known when everything is done."""
        return replace(self.report, digest=done.digest or "", seconds=round(done.seconds, 2))


def document(made: Made, folder: Path, *, development: bool) -> Documented:
    """Judge the variants in depth, write the report's lasting part into ``folder``.

    Args:
        made: The files and what is known of them.
        folder: The bundle in the making.
        development: Whether a development key will sign it.

    Raises:
        UsageError: The evaluation data have no column that the report is to be split by.
        StorageError: The disk is full.
    """
    session, outcome = made.session, made.outcome
    stated = session.recipe.evaluation
    appraisal = appraise(
        session.recipe.task,
        session.metric,
        made.baseline,
        outcome.variants,
        () if stated is None else stated.slices,
    )
    outcome = replace(outcome, warnings=(*outcome.warnings, *appraisal.warnings))
    manifest: Manifest | None = None
    if outcome.verdict != "refused":
        manifest = make_manifest(
            session,
            folder,
            outcome.variants,
            made.quantized.attempts,
            development=development,
            appraisal=appraisal,
        )
    report = make_report(
        session,
        outcome,
        made.quantized,
        original=made.baseline,
        appraisal=appraisal,
        manifest=manifest,
        pruned=made.pruned,
        methods=made.quantized.methods or None,
    )
    if manifest is not None:
        manifest = replace(manifest, report=write_inside(folder, report))
    return Documented(outcome=outcome, report=report, manifest=manifest)
