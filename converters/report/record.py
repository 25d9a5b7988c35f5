"""Gather a conversion's outcome into one report."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from converters.appraisal import Appraisal
from converters.graph import Graph
from converters.outcome import Conversion, JudgedVariant
from converters.pruning.prune import Pruned
from converters.quant.ladder import Attempt, is_within
from converters.quant.operators import multiply_accumulates
from converters.quant.plan import QuantPlan
from converters.quant.sensitivity import Sensitivity
from converters.release import recipe_record
from converters.report.contents import (
    AttemptReport,
    BoardLatency,
    DataReport,
    ExamReport,
    Island,
    Provenance,
    PrunedLayerReport,
    PruningReport,
    QuantizationReport,
    RefusalReport,
    Report,
    SensitivityReport,
    VariantReport,
)
from converters.report.layers import layer_errors
from converters.session import Session
from edgeops.contracts.manifest import Manifest

MAX_SENSITIVITIES: Final = 20
"""The rest disturbs the output less, and nobody reads a hundred rows."""


class FloatAndPlan(Protocol):
    """A plan, and the float graph that it is for."""

    @property
    def plan(self) -> QuantPlan:
        """Return the grid of every tensor."""

    @property
    def graph(self) -> Graph:
        """Return the float graph."""


class IntegerModel(Protocol):
    """What the ladder ended with."""

    @property
    def plan(self) -> QuantPlan | None:
        """Return the plan of the int8 files; ``None`` where there are none."""

    @property
    def graph(self) -> Graph | None:
        """Return the float graph that they were written from."""

    @property
    def rejected(self) -> FloatAndPlan | None:
        """Return the least bad attempt where none was within budget."""

    @property
    def ranking(self) -> tuple[Sensitivity, ...]:
        """Return the layers, most sensitive first; empty where no scan was needed."""


def make_report(
    session: Session,
    conversion: Conversion,
    quantized: IntegerModel,
    *,
    original: JudgedVariant,
    appraisal: Appraisal,
    manifest: Manifest | None = None,
    pruned: Pruned | None = None,
    methods: Mapping[str, int] | None = None,
    boards: Sequence[BoardLatency] = (),
) -> Report:
    """Return everything there is to say of a conversion.

    Args:
        session: Its inputs.
        conversion: Its outcome.
        quantized: Plan, graph and sensitivity scan of the int8 files.
        original: The float original as judged.
        appraisal: All variants in depth.
        manifest: Golden samples, drift reference and card; ``None`` where the budget refused.
        pruned: What pruning took away, if it was asked for.
        methods: Calibration method -> number of tensors whose range it chose; by default the
            method of the rung that was kept.
        boards: What devices measured so far.

    Raises:
        ConversionError: A layer's error cannot be measured, because the runtime fails.
    """
    stated = session.recipe
    budget = session.max_drop
    return Report(
        name=stated.name,
        version=stated.version,
        verdict=conversion.verdict,
        task=stated.task.type,
        metric=session.metric,
        judged=session.evaluation is not None,
        budget=budget,
        original=_original(original, appraisal),
        variants=tuple(
            _variant(judged, appraisal, budget, fastest=judged.id == conversion.fastest)
            for judged in conversion.variants
        ),
        refusals=tuple(
            RefusalReport(
                id=f"{refusal.runtime}-{refusal.precision}",
                reason=refusal.reason,
                over_budget=refusal.over_budget,
                nodes=refusal.nodes,
            )
            for refusal in conversion.refusals
        ),
        concessions=conversion.concessions,
        attempts=tuple(_attempt(tried, budget) for tried in conversion.attempts),
        warnings=conversion.warnings,
        calibration=_calibration(session),
        evaluation=_evaluation(session),
        quantization=_quantization(session, quantized, conversion.attempts, methods),
        pruning=_pruning(pruned),
        exam=_exam(manifest),
        card=stated.card if manifest is None else manifest.card,
        provenance=_provenance(session, conversion.attempts),
        boards=tuple(sorted(boards, key=lambda row: (row.board, row.variant))),
        digest=conversion.digest or "",
        seconds=round(conversion.seconds, 2),
    )


def _original(judged: JudgedVariant, appraisal: Appraisal) -> VariantReport:
    return VariantReport(
        id="original",
        runtime="onnx",
        precision="float32",
        file="",
        size_bytes=judged.size_bytes,
        sha256=judged.sha256,
        within_budget=None,
        assessment=appraisal.original,
        latency_ms=judged.latency_ms,
    )


def _variant(
    judged: JudgedVariant, appraisal: Appraisal, budget: float, *, fastest: bool
) -> VariantReport:
    made = judged.made
    appraised = appraisal.variants.get(made.output)
    return VariantReport(
        id=judged.id,
        runtime=made.output.runtime,
        precision=made.output.precision,
        file=made.file,
        size_bytes=judged.size_bytes,
        sha256=judged.sha256,
        within_budget=None if judged.drop is None else is_within(judged.drop, budget),
        quantized_macs=made.quantized_macs,
        assessment=None if appraised is None else appraised.assessment,
        comparison=None if appraised is None else appraised.comparison,
        latency_ms=judged.latency_ms,
        partitions=judged.partitions,
        arena_bytes=judged.arena_bytes,
        plan_match=None if judged.plan_match is None else judged.plan_match.rounded(),
        fastest=fastest,
    )


def _attempt(tried: Attempt, budget: float) -> AttemptReport:
    return AttemptReport(
        rung=tried.rung.name,
        kept_float=tried.rung.keep_float,
        drop=round(tried.drop, 6),
        within_budget=is_within(tried.drop, budget),
    )


def _calibration(session: Session) -> DataReport | None:
    data, stated = session.calibration_data, session.recipe.calibration
    if data is None or stated is None:
        return None
    return DataReport(
        name=data.name, sha256=data.sha256, size=data.size, used=min(stated.samples, data.size)
    )


def _evaluation(session: Session) -> DataReport | None:
    data = session.evaluation
    if data is None:
        return None
    return DataReport(name=data.name, sha256=data.sha256, size=data.size, used=data.size)


def _quantization(
    session: Session,
    quantized: IntegerModel,
    attempts: Sequence[Attempt],
    methods: Mapping[str, int] | None,
) -> QuantizationReport | None:
    plan, graph = quantized.plan, quantized.graph
    if (plan is None or graph is None) and quantized.rejected is not None:
        plan, graph = quantized.rejected.plan, quantized.rejected.graph
    if plan is None or graph is None:
        return None
    nodes = {node.name: node for node in graph.nodes}
    order = {name: place for place, name in enumerate(nodes)}
    macs = {name: multiply_accumulates(graph, node) for name, node in nodes.items()}
    weights = {name: value.nbytes for name, value in graph.constants.items() if value.ndim > 1}
    total = sum(weights.values())
    tensors = sum(name not in graph.constants for name in plan.tensors)
    if methods is None:
        tried = [a for a in attempts if a.rung.precision in {"int8", "int16x8"}]
        kept = [a for a in tried if is_within(a.drop, session.max_drop)] or [
            min(tried, key=lambda a: a.drop)
        ]
        methods = {kept[-1].rung.method: tensors}
    integers = sum(size for name, size in weights.items() if name in plan.tensors)
    return QuantizationReport(
        shipped=quantized.plan is not None,
        macs=sum(macs.values()),
        quantized_macs=round(plan.quantized_macs, 6),
        weight_bytes=total,
        quantized_bytes=round(integers / total, 6) if total else 0.0,
        tensors=tensors,
        methods=dict(sorted(methods.items())),
        layers=layer_errors(graph, plan, session.feeds),
        islands=tuple(
            Island(
                node=name,
                operator=nodes[name].op if name in nodes else "",
                reason=reason,
                macs=macs.get(name, 0),
            )
            for name, reason in sorted(
                plan.islands.items(), key=lambda item: (order.get(item[0], 0), item[0])
            )
        ),
        sensitivities=tuple(
            SensitivityReport(node=row.node, noise=float(f"{row.noise:.3g}"), macs=row.macs)
            for row in quantized.ranking[:MAX_SENSITIVITIES]
        ),
    )


def _pruning(pruned: Pruned | None) -> PruningReport | None:
    if pruned is None:
        return None
    return PruningReport(
        channels=pruned.channels,
        parameters=pruned.parameters,
        macs=pruned.macs,
        layers=tuple(
            PrunedLayerReport(
                node=layer.node,
                operator=layer.operator,
                before=layer.outputs[0],
                after=layer.outputs[1],
                error_cut=_three_digits(layer.error_cut),
                error_repaired=_three_digits(layer.error_repaired),
            )
            for layer in pruned.layers
        ),
    )


def _three_digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _exam(manifest: Manifest | None) -> ExamReport | None:
    if manifest is None or manifest.golden is None or manifest.drift_reference is None:
        return None
    return ExamReport(
        golden=manifest.golden.count,
        tolerance=manifest.golden.score_tolerance,
        drift_samples=manifest.drift_reference.samples,
        drift_labels=dict(manifest.drift_reference.label_counts),
    )


def _provenance(session: Session, attempts: tuple[Attempt, ...]) -> Provenance:
    record = recipe_record(session, attempts)
    options, tools = record["options"], record["tools"]
    return Provenance(
        source=session.origin.title,
        source_format=session.origin.kind,
        source_sha256=session.origin.sha256,
        notes=session.origin.notes,
        gate_samples=session.gate.samples,
        gate_difference=float(f"{session.gate.relative:.3g}"),
        tools=dict(_flat("", tools)),
        options=dict(_flat("", options)),
    )


def _flat(prefix: str, value: object) -> list[tuple[str, str]]:
    """Return a nested document as dotted keys with their values as text."""
    if isinstance(value, dict):
        return [
            row
            for key in sorted(value)
            for row in _flat(f"{prefix}.{key}" if prefix else str(key), value[key])
        ]
    if isinstance(value, list | tuple):
        rows = [_flat(f"{prefix}.{index}", item) for index, item in enumerate(value)]
        return [row for part in rows for row in part]
    return [] if value is None else [(prefix, str(value))]
