"""What the configuration expects of any bundle that runs in a slot; pure."""

from agent.config import AgentConfig
from agent.rules.grammar import labels_named, tasks_possible
from agent.rules.rulebook import Rule
from agent.update.rules import SlotRule
from edgeops.contracts.manifest import TaskType


def slot_rules(config: AgentConfig) -> tuple[SlotRule, ...]:
    """Return one rule per slot that the fleet fills."""
    rules = []
    for slot in sorted({m.slot for m in config.models.values() if m.slot is not None}):
        models = {name: m for name, m in config.models.items() if m.slot == slot}
        pipelines = {name for name, p in config.pipelines.items() if p.model in models}
        watched = [rule for rule in config.rules.values() if rule.pipeline in pipelines]
        first = next(iter(models.values()))
        rules.append(
            SlotRule(
                slot=slot,
                task=_task(watched),
                labels=_labels(watched),
                runtime=first.runtime,
                precision=first.precision,
            )
        )
    return tuple(rules)


def _task(rules: list[Rule]) -> TaskType | None:
    """Return the one task that all rules can be asked about, or ``None`` where several fit."""
    sets = [tasks_possible(e) for rule in rules for e in (rule.when, rule.clear)]
    common = frozenset.intersection(*sets) if sets else frozenset()
    return next(iter(common)) if len(common) == 1 else None


def _labels(rules: list[Rule]) -> frozenset[str]:
    return frozenset(
        label for rule in rules for e in (rule.when, rule.clear) for label in labels_named(e)
    )
