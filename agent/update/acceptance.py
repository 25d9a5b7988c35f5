"""Pure: what speaks against a bundle before anything of it is fetched."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.update.record import Running
from agent.update.rules import SlotRule
from edgeops.contracts.manifest import Manifest, Variant
from edgeops.contracts.update import Assignment, Reason
from edgeops.errors import InferenceError

ChooseVariant = Callable[[Manifest, SlotRule], Variant]
"""Returns the variant that runs best here; raises ``InferenceError`` where none does."""

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a bundle is rejected, with the figures that decided."""

    reason: Reason
    detail: str


def weigh(
    manifest: Manifest,
    assignment: Assignment,
    rule: SlotRule,
    running: Running | None,
    choose: ChooseVariant,
) -> Variant | Objection:
    """Return the variant to fetch, or what speaks against the bundle.

    Args:
        manifest: Of the assigned bundle, its digest and signature checked.
        assignment: What the director says.
        rule: What the slot's pipelines and rules expect.
        running: What runs now.
        choose: Chooses among the manifest's variants.
    """
    if running is not None and manifest.serial < running.serial:
        allowed = assignment.downgrade_ok_from
        if allowed is None or allowed < running.serial:
            return Objection(
                Reason.SERIAL,
                f"its serial {manifest.serial} is below the running {running.serial},"
                " and the assignment does not allow to go down",
            )
    if rule.task is not None and manifest.task.type != rule.task:
        return Objection(
            Reason.WRONG_TASK, f"it does {manifest.task.type}, the pipelines expect {rule.task}"
        )
    missing = sorted(rule.labels - set(manifest.task.labels))
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        return Objection(
            Reason.MISSING_LABELS,
            f"the rules need the labels {', '.join(missing[:_NAMED])}{more}, unknown to it",
        )
    try:
        return choose(manifest, rule)
    except InferenceError as error:
        return Objection(Reason.NO_VARIANT, str(error))
