"""What an operator can do with rollouts; each call is one write transaction of the caller's.

Whoever decides says which revision they looked at: a decision about something that has changed
meanwhile is refused, so that a late "resume" never lets a later stage begin.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from edgeops.clock import Clock
from edgeops.errors import ContractError, TransitionError, UsageError
from fleet.rollouts import inventory, members, store, trail
from fleet.rollouts.cohorts import Candidate
from fleet.rollouts.handback import withdraw_in_flight
from fleet.rollouts.machine import MemberState, RolloutEvent, RolloutState, StageState
from fleet.rollouts.plan import make_plan
from fleet.rollouts.ports import Assignments
from fleet.rollouts.spec import RolloutSpec
from fleet.rollouts.store import Rollout
from fleet.rollouts.turn import Turn
from fleet.rollouts.view import (
    Explanation,
    MemberView,
    RolloutView,
    explain,
    member_views,
    view,
)

MOST_LISTED: Final = 200
MAX_REQUEST_KEY: Final = 100
OPERATOR: Final = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A new rollout, and what the operator should know about its plan."""

    rollout: RolloutView
    notices: tuple[str, ...] = ()


class RolloutService:
    """The operator's side of the rollouts.

    Args:
        assignments: Tells devices what to run (a superseded rollout takes its bundle back).
        clock: Wall time for the records.
    """

    def __init__(self, *, assignments: Assignments, clock: Clock) -> None:
        self._assignments = assignments
        self._clock = clock

    def create(
        self,
        connection: Connection,
        spec: RolloutSpec,
        *,
        actor: str = OPERATOR,
        request_key: str | None = None,
        supersede: bool = False,
        draft: bool = False,
    ) -> Created:
        """Make a rollout and start it, or wait for its approval where the policy says so.

        Args:
            connection: Inside a write transaction.
            spec: What is asked for.
            actor: Who asks.
            request_key: The same key again returns the same rollout and makes none.
            supersede: End open rollouts on the same devices and slot instead of refusing.
            draft: Only store it; ``start`` begins it.

        Raises:
            UsageError: No such bundle or device; or another rollout is open there.
            ContractError: No device matches, a stage could never pass, or a device runs a newer
                serial and the policy does not allow to go down.
        """
        if request_key is not None and not 1 <= len(request_key) <= MAX_REQUEST_KEY:
            raise ContractError("request_key", f"expected 1 to {MAX_REQUEST_KEY} characters")
        known = None if request_key is None else store.by_request(connection, request_key)
        if known is not None:
            return self._known(connection, known, spec)
        inventory.bundle_serial(connection, spec.bundle)
        now_s = self._clock.wall()
        now = store.add(
            connection,
            spec,
            rollout_id=f"ro-{secrets.token_hex(6)}",
            salt=secrets.token_hex(16),
            state=RolloutState.DRAFT,
            actor=actor,
            request_key=request_key,
            now_s=now_s,
        )
        now = trail.write(connection, now, "created", actor=actor, now_s=now_s, body={"spec": spec})
        if draft:
            return Created(rollout=view(connection, now))
        return self._begin(connection, now, actor=actor, supersede=supersede)

    def start(
        self,
        connection: Connection,
        rollout_id: str,
        *,
        actor: str = OPERATOR,
        expected_revision: int | None = None,
        supersede: bool = False,
    ) -> Created:
        """Begin a draft; see ``create`` for the errors."""
        now = _looked_at(connection, rollout_id, expected_revision)
        if now.state is not RolloutState.DRAFT:
            raise TransitionError(f"rollout {now.id} was started before; it is {now.state.value}")
        return self._begin(connection, now, actor=actor, supersede=supersede)

    def approve(
        self,
        connection: Connection,
        rollout_id: str,
        *,
        actor: str = OPERATOR,
        expected_revision: int | None = None,
    ) -> RolloutView:
        """Let a rollout that awaits approval run; see ``pause`` for the errors."""
        now = _looked_at(connection, rollout_id, expected_revision)
        reason = f"approved by {actor}"
        return self._decide(connection, now, RolloutEvent.APPROVED, actor, reason)

    def refuse(
        self,
        connection: Connection,
        rollout_id: str,
        *,
        actor: str = OPERATOR,
        expected_revision: int | None = None,
    ) -> RolloutView:
        """Refuse a rollout that awaits approval; see ``pause`` for the errors."""
        now = _looked_at(connection, rollout_id, expected_revision)
        reason = f"refused by {actor}"
        return self._decide(connection, now, RolloutEvent.REFUSED, actor, reason)

    def pause(
        self,
        connection: Connection,
        rollout_id: str,
        *,
        actor: str = OPERATOR,
        expected_revision: int | None = None,
    ) -> RolloutView:
        """Admit no further device; those on the way go on.

        Raises:
            UsageError: No such rollout.
            TransitionError: Not possible now, or it changed since ``expected_revision``.
        """
        now = _looked_at(connection, rollout_id, expected_revision)
        reason = f"paused by {actor}"
        return self._decide(connection, now, RolloutEvent.OPERATOR_PAUSED, actor, reason)

    def resume(
        self,
        connection: Connection,
        rollout_id: str,
        *,
        actor: str = OPERATOR,
        expected_revision: int | None = None,
        accept: bool = False,
    ) -> RolloutView:
        """Go on after a pause; the failures so far count as seen, new ones stop it again.

        Args:
            connection: Inside a write transaction.
            rollout_id: Which.
            actor: Who decides.
            expected_revision: The revision that was looked at.
            accept: Take the current stage as passed once nobody is on the way, without proof.

        Raises:
            UsageError: No such rollout.
            TransitionError: It is not paused, or it changed since ``expected_revision``.
        """
        now = _looked_at(connection, rollout_id, expected_revision)
        reason = f"resumed by {actor}" + (", who accepts this stage as passed" if accept else "")
        result = self._decide(connection, now, RolloutEvent.RESUMED, actor, reason)
        stages = store.stages(connection, now.id)
        for stage in stages:
            if stage.state is not StageState.PLANNED:
                accepted = accept and stage.k == now.stage
                store.acknowledge(connection, now.id, stage, accept=accepted, watched=now.watched)
        if accept and now.stage < len(stages) - 1:
            # Who was not attempted in a stage that is accepted as it is comes with the last one.
            members.postpone(connection, now.id, k=now.stage, last=len(stages) - 1)
            result = view(connection, store.load(connection, now.id))
        return result

    def abort(
        self,
        connection: Connection,
        rollout_id: str,
        *,
        actor: str = OPERATOR,
        expected_revision: int | None = None,
    ) -> RolloutView:
        """End it: devices on the way go back, those that committed keep the bundle.

        See ``pause`` for the errors.
        """
        now = _looked_at(connection, rollout_id, expected_revision)
        reason = f"aborted by {actor}"
        return self._decide(connection, now, RolloutEvent.ABORT_ASKED, actor, reason)

    def revert(
        self,
        connection: Connection,
        rollout_id: str,
        *,
        actor: str = OPERATOR,
        expected_revision: int | None = None,
    ) -> RolloutView:
        """End it: every device goes back to what it ran before; see ``pause`` for the errors."""
        now = _looked_at(connection, rollout_id, expected_revision)
        reason = f"reverted by {actor}"
        return self._decide(connection, now, RolloutEvent.REVERT_ASKED, actor, reason)

    def list(self, connection: Connection, *, limit: int = MOST_LISTED) -> Sequence[RolloutView]:
        """Return the newest rollouts first."""
        return [view(connection, now) for now in store.newest(connection, min(limit, MOST_LISTED))]

    def show(self, connection: Connection, rollout_id: str) -> RolloutView:
        """Return one rollout; raises ``UsageError`` if there is none."""
        return view(connection, store.load(connection, rollout_id))

    def members(
        self,
        connection: Connection,
        rollout_id: str,
        states: tuple[MemberState, ...] = tuple(MemberState),
    ) -> tuple[MemberView, ...]:
        """Return its devices, at most 1000; raises ``UsageError`` if there is no such rollout."""
        return member_views(connection, store.load(connection, rollout_id), states)

    def explain(self, connection: Connection, rollout_id: str) -> Explanation:
        """Return a rollout with every decision about it.

        Raises:
            UsageError: No such rollout.
            TrustError: The evidence was changed.
        """
        return explain(connection, store.load(connection, rollout_id))

    def _known(self, connection: Connection, known: Rollout, spec: RolloutSpec) -> Created:
        if known.spec != spec:
            raise UsageError(f"this request key already made rollout {known.id}, which is another")
        return Created(rollout=view(connection, known))

    def _begin(
        self, connection: Connection, now: Rollout, *, actor: str, supersede: bool
    ) -> Created:
        spec, now_s = now.spec, self._clock.wall()
        candidates = inventory.candidates(connection, spec.selector)
        now, notices = self._lay_out(connection, now, candidates)
        for other in members.overlapping(connection, now):
            if not supersede:
                raise UsageError(
                    f"rollout {other} is open on the same devices and slot {spec.slot!r};"
                    " end it first or supersede it"
                )
            self._supersede(connection, other, by=now.id, actor=actor)
        event = RolloutEvent.SUBMITTED if spec.approval else RolloutEvent.STARTED
        reason = "waits for approval" if spec.approval else f"started by {actor}"
        now = store.change(connection, now, event, reason=reason, now_s=now_s)
        now = trail.write(
            connection,
            now,
            event.value,
            actor=actor,
            now_s=now_s,
            body={
                "salt": now.salt,
                "stages": [stage.size for stage in store.stages(connection, now.id)],
                "notices": notices,
            },
        )
        return Created(rollout=view(connection, now), notices=notices)

    def _lay_out(
        self, connection: Connection, now: Rollout, candidates: Sequence[Candidate]
    ) -> tuple[Rollout, tuple[str, ...]]:
        spec = now.spec
        fleet = inventory.fleet_size(connection)
        plan = make_plan(spec, candidates, fleet=fleet, salt=now.salt)
        start = 0
        for k, stage in enumerate(plan.stages):
            store.add_stage(
                connection, now.id, k=k, number=stage.number, small_stage=stage.small_stage
            )
            members.add(connection, now.id, k, stage.devices, start=start)
            start += len(stage.devices)
        serial = inventory.bundle_serial(connection, spec.bundle)
        above, example = inventory.devices_above(connection, now.id, spec.slot, spec.bundle, serial)
        if above and not spec.downgrade_ok:
            raise ContractError(
                "rollout.downgrade_ok",
                f"{above} devices ({example} for one) run a serial above {serial};"
                " say downgrade_ok: true to let them go down",
            )
        return now, plan.notices

    def _supersede(self, connection: Connection, other: str, *, by: str, actor: str) -> None:
        now_s = self._clock.wall()
        turn = Turn(connection, self._assignments, store.load(connection, other), now_s)
        taken_back = withdraw_in_flight(turn)
        turn.change(RolloutEvent.OVERTAKEN, f"superseded by {by}")
        trail.write(
            connection,
            turn.now,
            "superseded",
            actor=actor,
            now_s=now_s,
            body={"by": by, "taken_back": taken_back},
        )

    def _decide(
        self, connection: Connection, now: Rollout, event: RolloutEvent, actor: str, reason: str
    ) -> RolloutView:
        now_s = self._clock.wall()
        before = now.state
        now = store.change(connection, now, event, reason=reason, now_s=now_s)
        now = trail.write(
            connection,
            now,
            event.value,
            actor=actor,
            now_s=now_s,
            stage=now.stage,
            body={"from": before.value, "to": now.state.value, "reason": reason},
        )
        return view(connection, now)


def _looked_at(connection: Connection, rollout_id: str, revision: int | None) -> Rollout:
    now = store.load(connection, rollout_id)
    if revision is not None and now.revision != revision:
        raise TransitionError(
            f"rollout {rollout_id} has changed: it is at revision {now.revision} ({now.state.value}"
            f" in stage {now.stage + 1}), you looked at {revision}"
        )
    return now
