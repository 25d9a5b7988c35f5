"""Lays the stages over the fleet before anything starts, and refuses what can never work. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgeops.errors import ContractError
from fleet.rollouts.bounds import least_to_pass
from fleet.rollouts.cohorts import Candidate, ordered, sizes
from fleet.rollouts.policy import ALPHA
from fleet.rollouts.spec import GateSpec, RolloutSpec, SmallStage, StageSpec

SMALL_FLEET: Final = 200
"""Below this many devices the default of ``small_stage`` is ``all``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage that adds at least one device.

    Attributes:
        number: Which stage of the specification this is, from 0.
        devices: Its members in the order of admission.
    """

    number: int
    rule: StageSpec
    gate: GateSpec
    small_stage: SmallStage
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages with their members, and what the operator should know."""

    stages: tuple[PlannedStage, ...]
    notices: tuple[str, ...]


def small_stage_rule(gate: GateSpec, fleet: int) -> SmallStage:
    """Return the rule for small stages; ``fleet`` is the number of all devices enrolled."""
    if gate.small_stage is not None:
        return gate.small_stage
    return SmallStage.ALL if fleet < SMALL_FLEET else SmallStage.WILSON


def make_plan(spec: RolloutSpec, candidates: Sequence[Candidate], *, fleet: int, salt: str) -> Plan:
    """Return who comes when.

    Args:
        spec: What the operator asked for.
        candidates: Devices that the selector matches.
        fleet: Devices enrolled in all.
        salt: Random text of this rollout.

    Raises:
        ContractError: No device matches, or a stage could never pass its gate.
    """
    if not candidates:
        raise ContractError("rollout.selector", "matches no enrolled device")
    order = ordered(candidates, salt=salt)
    stages: list[PlannedStage] = []
    notices: list[str] = []
    start = 0
    for number, (rule, size) in enumerate(
        zip(spec.stages, sizes(spec.stages, len(order)), strict=True)
    ):
        if size == 0:
            notices.append(
                f"stage {number + 1} adds no device in a fleet of {len(order)} and is left out"
            )
            continue
        gate = spec.gate_of(number)
        small = small_stage_rule(gate, fleet)
        notices += _passable(number, size, gate, small)
        devices = order[start : start + size]
        start += size
        stages.append(
            PlannedStage(number=number, rule=rule, gate=gate, small_stage=small, devices=devices)
        )
    return Plan(stages=tuple(stages), notices=tuple(notices))


def _passable(number: int, size: int, gate: GateSpec, small: SmallStage) -> list[str]:
    needed = least_to_pass(gate.max_failure_rate, alpha=ALPHA)
    if size >= needed:
        return []
    if small is SmallStage.ALL:
        return [
            f"stage {number + 1} has {size} devices, fewer than the {needed} that can prove at most"
            f" {gate.max_failure_rate:.1%} failures: it passes when every one of them commits"
        ]
    raise ContractError(
        f"rollout.stages[{number}]",
        f"can never pass its gate: it has {size} devices, and only {needed} or more that all commit"
        f" prove at most {gate.max_failure_rate:.1%} failures (make the stage larger, raise"
        " gate.max_failure_rate, or set gate.small_stage: all)",
    )
