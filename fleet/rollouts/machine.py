"""The lives of a rollout, of a stage and of a member, each as one table. Pure.

Every pair of state and event is in a table or raises ``TransitionError``; nothing here touches a
database or a clock.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from edgeops.errors import TransitionError


class RolloutState(StrEnum):
    """Where a rollout is; the value goes to the database."""

    DRAFT = "draft"
    AWAITING_APPROVAL = "awaiting-approval"
    RUNNING = "running"
    PAUSED_AUTO = "paused-auto"  # by a gate
    PAUSED_OPERATOR = "paused-operator"
    ABORTING_KEEP = "aborting-keep"  # takes back what is on the way, leaves what committed
    ABORTING_REVERT = "aborting-revert"  # takes back everything
    ABORTED = "aborted"
    REVERTED = "reverted"
    COMPLETED = "completed"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"

    @property
    def word(self) -> str:
        """Return the state in one word, as people say it: ``paused``, ``aborting``."""
        return _WORD_AND_CAUSE.get(self, (self.value, None))[0]

    @property
    def cause(self) -> str | None:
        """Return what tells two states of one word apart: who paused, or what aborting does."""
        return _WORD_AND_CAUSE.get(self, (self.value, None))[1]


_WORD_AND_CAUSE: Final[Mapping[RolloutState, tuple[str, str]]] = {
    RolloutState.PAUSED_AUTO: ("paused", "auto"),
    RolloutState.PAUSED_OPERATOR: ("paused", "operator"),
    RolloutState.ABORTING_KEEP: ("aborting", "keep"),
    RolloutState.ABORTING_REVERT: ("aborting", "revert"),
}


class RolloutEvent(StrEnum):
    """What can happen to a rollout."""

    SUBMITTED = "submitted"  # needs an approval
    STARTED = "started"
    APPROVED = "approved"
    REFUSED = "refused"
    GATE_STOPPED = "gate-stopped"
    OPERATOR_PAUSED = "operator-paused"
    RESUMED = "resumed"
    ABORT_ASKED = "abort-asked"
    REVERT_ASKED = "revert-asked"
    TAKEN_BACK = "taken-back"  # the work of an aborting state is done
    LAST_STAGE_PASSED = "last-stage-passed"
    OVERTAKEN = "overtaken"  # a newer rollout supersedes this one


_S, _E = RolloutState, RolloutEvent

ROLLOUT: Final[Mapping[tuple[RolloutState, RolloutEvent], RolloutState]] = {
    (_S.DRAFT, _E.SUBMITTED): _S.AWAITING_APPROVAL,
    (_S.DRAFT, _E.STARTED): _S.RUNNING,
    (_S.DRAFT, _E.ABORT_ASKED): _S.ABORTED,
    (_S.AWAITING_APPROVAL, _E.APPROVED): _S.RUNNING,
    (_S.AWAITING_APPROVAL, _E.REFUSED): _S.REJECTED,
    (_S.AWAITING_APPROVAL, _E.ABORT_ASKED): _S.ABORTED,
    (_S.AWAITING_APPROVAL, _E.OVERTAKEN): _S.SUPERSEDED,
    (_S.RUNNING, _E.GATE_STOPPED): _S.PAUSED_AUTO,
    (_S.RUNNING, _E.OPERATOR_PAUSED): _S.PAUSED_OPERATOR,
    (_S.RUNNING, _E.ABORT_ASKED): _S.ABORTING_KEEP,
    (_S.RUNNING, _E.REVERT_ASKED): _S.ABORTING_REVERT,
    (_S.RUNNING, _E.LAST_STAGE_PASSED): _S.COMPLETED,
    (_S.RUNNING, _E.OVERTAKEN): _S.SUPERSEDED,
    (_S.PAUSED_AUTO, _E.OPERATOR_PAUSED): _S.PAUSED_OPERATOR,
    (_S.PAUSED_AUTO, _E.RESUMED): _S.RUNNING,
    (_S.PAUSED_AUTO, _E.ABORT_ASKED): _S.ABORTING_KEEP,
    (_S.PAUSED_AUTO, _E.REVERT_ASKED): _S.ABORTING_REVERT,
    (_S.PAUSED_AUTO, _E.OVERTAKEN): _S.SUPERSEDED,
    (_S.PAUSED_OPERATOR, _E.RESUMED): _S.RUNNING,
    (_S.PAUSED_OPERATOR, _E.ABORT_ASKED): _S.ABORTING_KEEP,
    (_S.PAUSED_OPERATOR, _E.REVERT_ASKED): _S.ABORTING_REVERT,
    (_S.PAUSED_OPERATOR, _E.OVERTAKEN): _S.SUPERSEDED,
    (_S.ABORTING_KEEP, _E.REVERT_ASKED): _S.ABORTING_REVERT,
    (_S.ABORTING_KEEP, _E.TAKEN_BACK): _S.ABORTED,
    (_S.ABORTING_KEEP, _E.OVERTAKEN): _S.SUPERSEDED,
    (_S.ABORTING_REVERT, _E.TAKEN_BACK): _S.REVERTED,
    (_S.ABORTING_REVERT, _E.OVERTAKEN): _S.SUPERSEDED,
    # What committed can still be taken back later, device by device where nothing newer came.
    (_S.ABORTED, _E.REVERT_ASKED): _S.ABORTING_REVERT,
    (_S.COMPLETED, _E.REVERT_ASKED): _S.ABORTING_REVERT,
}

OPEN: Final = frozenset(
    {
        _S.AWAITING_APPROVAL,
        _S.RUNNING,
        _S.PAUSED_AUTO,
        _S.PAUSED_OPERATOR,
        _S.ABORTING_KEEP,
        _S.ABORTING_REVERT,
    }
)
"""States in which a rollout has a claim on its devices."""

TICKED: Final = OPEN - {_S.AWAITING_APPROVAL}
"""States in which the engine has work."""


class StageState(StrEnum):
    """Where a stage is."""

    PLANNED = "planned"
    ADMITTING = "admitting"
    SOAKING = "soaking"
    EVALUATING = "evaluating"
    DONE = "done"


class StageEvent(StrEnum):
    """What can happen to a stage."""

    OPENED = "opened"
    SETTLED = "settled"  # everybody reachable was attempted and nobody is on the way
    SOAKED = "soaked"
    REOPENED = "reopened"  # a member became reachable, or one settled differently
    PASSED = "passed"


_G, _H = StageState, StageEvent

STAGE: Final[Mapping[tuple[StageState, StageEvent], StageState]] = {
    (_G.PLANNED, _H.OPENED): _G.ADMITTING,
    (_G.ADMITTING, _H.SETTLED): _G.SOAKING,
    (_G.SOAKING, _H.SOAKED): _G.EVALUATING,
    (_G.SOAKING, _H.REOPENED): _G.ADMITTING,
    (_G.EVALUATING, _H.REOPENED): _G.ADMITTING,
    (_G.EVALUATING, _H.PASSED): _G.DONE,
}


def next_event(state: StageState, *, busy: bool, soaked: bool, passes: bool) -> StageEvent | None:
    """Return what happened to the current stage; ``None``: it stays as it is.

    Args:
        state: Where the stage is.
        busy: Somebody reachable still waits or is on the way.
        soaked: The soak time since the stage settled is over.
        passes: The policy says that it passes.
    """
    if state is StageState.ADMITTING and not busy:
        return StageEvent.SETTLED
    if state in {StageState.SOAKING, StageState.EVALUATING} and busy:
        return StageEvent.REOPENED
    if state is StageState.SOAKING and soaked:
        return StageEvent.SOAKED
    if state is StageState.EVALUATING and passes:
        return StageEvent.PASSED
    return None


class MemberState(StrEnum):
    """Where one device is within a rollout."""

    WAITING = "waiting"
    ASSIGNED = "assigned"
    UPDATING = "updating"
    COMMITTED = "committed"
    FAILED = "failed"
    REGRESSED = "regressed"
    DISTRUSTED = "distrusted"
    GAVE_UP = "gave-up"
    LEFT = "left"
    WITHDRAWN = "withdrawn"
    REVERTING = "reverting"
    REVERTED = "reverted"


class MemberEvent(StrEnum):
    """What can happen to a member."""

    ADMITTED = "admitted"
    BEGAN = "began"
    PROVEN = "proven"
    BROKE = "broke"  # a reason of class device or bundle, or the attempt timed out
    DOUBTED = "doubted"  # a reason of class security
    RETRIED = "retried"  # transient, or never taken up: back to the queue
    SPENT = "spent"  # transient and out of retries
    FELL_BACK = "fell-back"
    GONE = "gone"
    TAKEN_BACK = "taken-back"  # before it committed
    SENT_BACK = "sent-back"  # after it committed
    WENT_BACK = "went-back"
    STUCK = "stuck"  # refused to go back


_M, _V = MemberState, MemberEvent

MEMBER: Final[Mapping[tuple[MemberState, MemberEvent], MemberState]] = {
    (_M.WAITING, _V.ADMITTED): _M.ASSIGNED,
    (_M.WAITING, _V.GONE): _M.LEFT,
    **{
        (state, event): target
        for state in (_M.ASSIGNED, _M.UPDATING)
        for event, target in {
            _V.PROVEN: _M.COMMITTED,
            _V.BROKE: _M.FAILED,
            _V.DOUBTED: _M.DISTRUSTED,
            _V.RETRIED: _M.WAITING,
            _V.SPENT: _M.GAVE_UP,
            _V.FELL_BACK: _M.REGRESSED,
            _V.GONE: _M.LEFT,
            _V.TAKEN_BACK: _M.WITHDRAWN,
        }.items()
    },
    (_M.ASSIGNED, _V.BEGAN): _M.UPDATING,
    (_M.COMMITTED, _V.FELL_BACK): _M.REGRESSED,
    (_M.COMMITTED, _V.SENT_BACK): _M.REVERTING,
    (_M.COMMITTED, _V.GONE): _M.LEFT,  # on reverting: decommissioned, or nothing to go back to
    (_M.REVERTING, _V.WENT_BACK): _M.REVERTED,
    (_M.REVERTING, _V.STUCK): _M.FAILED,
    (_M.REVERTING, _V.GONE): _M.LEFT,
}

IN_FLIGHT: Final = (MemberState.ASSIGNED, MemberState.UPDATING)

State = TypeVar("State", RolloutState, StageState, MemberState)
Event = TypeVar("Event", RolloutEvent, StageEvent, MemberEvent)


def step(table: Mapping[tuple[State, Event], State], state: State, event: Event) -> State:
    """Return the next state.

    Raises:
        TransitionError: ``event`` has no row for this state.
    """
    try:
        return table[state, event]
    except KeyError:
        raise TransitionError(f"{event.value} is not possible while {state.value}") from None
