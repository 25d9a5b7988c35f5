"""How a slot moves from one bundle to the next, as a table.

Rule 1: every legal move is in ``TABLE``. Rule 2: nothing here touches disk, network or clock; the
runner carries out the effects. Rule 3: effects are idempotent, because after a power cut the
runner repeats those of ``RESUME``. Rule 4: an effect that fails says so by an event, never by
leaving the state as it was.

Shadow runs (``UpdateState.SHADOW``) are not done by this release: such an assignment is rejected.
"""

from enum import StrEnum
from typing import Final

from edgeops.contracts.update import UpdateState as State
from edgeops.errors import TransitionError


class Event(StrEnum):
    """What can happen; named in the past tense."""

    ASSIGNED = "assigned"  # a new generation, signed by the director
    ALREADY = "already"  # the assigned bundle is the one that runs
    DONE = "done"  # the effects of this state are carried out
    BROKE = "broke"  # something passing: no network; to be tried again
    FAILED = "failed"  # this generation cannot succeed on this device
    LOST = "lost"  # what runs was found damaged on disk


class Effect(StrEnum):
    """What the runner must do; named as an order."""

    AWAIT_START = "await-start"  # not-before, deadline
    READ_META = "read-meta"  # manifest and signatures, checked against what the slot expects
    DOWNLOAD = "download"
    STAGE = "stage"  # check the whole bundle and move it to its address
    EXAMINE = "examine"  # golden samples in a process of their own
    SWITCH = "switch"  # current link, then the pipelines
    WATCH = "watch"  # probation
    RESTORE = "restore"  # current link and pipelines back to the bundle before
    RUN_FACTORY = "run-factory"
    TIDY = "tidy"  # remove what nothing refers to


Row = tuple[State, tuple[Effect, ...]]

RESTING: Final = frozenset(
    {State.IDLE, State.COMMITTED, State.REJECTED, State.ROLLED_BACK, State.FALLBACK}
)
"""Nothing is under way: a new assignment is taken at once."""

BEFORE_ACTIVATION: Final = frozenset(
    {State.ASSIGNED, State.META, State.FETCH, State.STAGED, State.PREFLIGHT}
)
"""The running bundle is untouched: a new assignment takes the place of this one."""

COMMITTING: Final = frozenset({State.ACTIVATING, State.PROBATION, State.ROLLING_BACK})
"""The slot is between two bundles: this is brought to its end before anything new."""

TABLE: Final[dict[tuple[State, Event], Row]] = {
    **{
        (state, Event.ASSIGNED): (State.ASSIGNED, (Effect.AWAIT_START,))
        for state in sorted(RESTING | BEFORE_ACTIVATION)
    },
    (State.ASSIGNED, Event.ALREADY): (State.COMMITTED, (Effect.TIDY,)),
    (State.ASSIGNED, Event.DONE): (State.META, (Effect.READ_META,)),
    (State.META, Event.DONE): (State.FETCH, (Effect.DOWNLOAD,)),
    (State.META, Event.BROKE): (State.META, (Effect.READ_META,)),
    (State.FETCH, Event.DONE): (State.STAGED, (Effect.STAGE,)),
    (State.FETCH, Event.BROKE): (State.FETCH, (Effect.DOWNLOAD,)),
    (State.STAGED, Event.DONE): (State.PREFLIGHT, (Effect.EXAMINE,)),
    (State.PREFLIGHT, Event.DONE): (State.ACTIVATING, (Effect.SWITCH,)),
    (State.ACTIVATING, Event.DONE): (State.PROBATION, (Effect.WATCH,)),
    (State.PROBATION, Event.DONE): (State.COMMITTED, (Effect.TIDY,)),
    **{
        (state, Event.FAILED): (State.REJECTED, (Effect.TIDY,))
        for state in sorted(BEFORE_ACTIVATION)
    },
    (State.ACTIVATING, Event.FAILED): (State.ROLLING_BACK, (Effect.RESTORE,)),
    (State.PROBATION, Event.FAILED): (State.ROLLING_BACK, (Effect.RESTORE,)),
    (State.ROLLING_BACK, Event.DONE): (State.ROLLED_BACK, (Effect.TIDY,)),
    (State.ROLLING_BACK, Event.BROKE): (State.ROLLING_BACK, (Effect.RESTORE,)),
    (State.ROLLING_BACK, Event.FAILED): (State.FALLBACK, (Effect.RUN_FACTORY,)),
    **{
        (state, Event.LOST): (State.ROLLING_BACK, (Effect.RESTORE,))
        for state in sorted(RESTING - {State.IDLE, State.FALLBACK})
    },
    **{(state, Event.DONE): (state, ()) for state in sorted(RESTING - {State.IDLE})},
}

RESUME: Final[dict[State, tuple[Effect, ...]]] = {
    State.ASSIGNED: (Effect.AWAIT_START,),
    State.META: (Effect.READ_META,),
    State.FETCH: (Effect.DOWNLOAD,),
    State.STAGED: (Effect.STAGE,),
    State.PREFLIGHT: (Effect.EXAMINE,),
    State.ACTIVATING: (Effect.SWITCH,),
    State.PROBATION: (Effect.WATCH,),
    State.ROLLING_BACK: (Effect.RESTORE,),
    State.FALLBACK: (Effect.RUN_FACTORY,),
    **dict.fromkeys((State.COMMITTED, State.REJECTED, State.ROLLED_BACK), (Effect.TIDY,)),
}
"""What is repeated after a restart; states that are not here rest."""


def step(state: State, event: Event) -> Row:
    """Return the next state and the effects to carry out, in order.

    Raises:
        TransitionError: ``event`` has no row for this state.
    """
    try:
        return TABLE[state, event]
    except KeyError:
        raise TransitionError(f"{event} is not legal while {state}") from None
