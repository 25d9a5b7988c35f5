"""Pure: what goes out next, what is on its way, and when it is sent again.

Nothing is forgotten but by an acknowledgement of the server: MQTT's own PUBACK says only that the
broker has it. At most ``slots`` messages are on their way; a message that was sent ``PARK_AFTER``
times in vain gives its slot back and is repeated seldom, so that no single one blocks the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.outbox.packing import Span

PARK_AFTER: Final = 3
MAX_PARKED: Final = 48
MAX_REMEMBERED: Final = 1000
PER_STREAM: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRules:
    """How much may be on its way, and how soon it is repeated.

    Attributes:
        slots: Messages on their way, alerts and frames together.
        share: Most of them that either kind may take, so that neither starves the other.
        timeout_s: First wait for the acknowledgement; doubles with each repeat.
        cap_s: Longest wait.
    """

    slots: int = 16
    share: int = 12
    timeout_s: float = 5.0
    cap_s: float = 120.0


@dataclass(slots=True)
class Flight:
    """One message on its way: ``last`` is the last window of a frame, 0 for an alert."""

    last: int
    due_s: float
    attempts: int


@dataclass(frozen=True, slots=True)
class NextFrame:
    """A frame to build and send: windows of ``span`` from ``first`` on.

    Attributes:
        repeats: Where the flight began that this one stands in for; ``None`` for a new one.
    """

    span: Span
    first: int
    repeats: int | None = None


@dataclass(slots=True)
class SendPlan:
    """What is on its way in this session; all times are monotonic seconds given by the caller."""

    rules: SendRules = field(default_factory=SendRules)
    _alerts: dict[str, Flight] = field(default_factory=dict)
    _frames: dict[int, dict[int, Flight]] = field(default_factory=dict)
    _turn: int = 0

    def reset(self) -> None:
        """Begin a new session: what the last one sent may never have arrived."""
        self._alerts.clear()
        self._frames.clear()

    def alert_room(self, now_s: float) -> int:
        """Return how many alerts may go out now, repeats among them."""
        return self._room(self._alerts.values(), now_s)

    def alerts_on_the_way(self, now_s: float) -> Collection[str]:
        """Return the event ids that need not go out now; the others are candidates again."""
        return {event_id for event_id, flight in self._alerts.items() if flight.due_s > now_s}

    def sent_alert(self, event_id: str, now_s: float) -> None:
        """Note that an alert went out."""
        before = self._alerts.pop(event_id, None)
        self._alerts[event_id] = self._flight(before, 0, now_s)
        while len(self._alerts) > MAX_REMEMBERED:
            del self._alerts[next(iter(self._alerts))]  # costs at most one early repeat

    def next_frame(self, spans: Sequence[Span], now_s: float) -> NextFrame | None:
        """Return the frame to send now: repeats that are due, then what never went out.

        Streams take turns, so that a long backlog of one does not hold up the others.
        """
        self._forget_absent(spans)
        flights = [flight for stream in self._frames.values() for flight in stream.values()]
        if not spans or self._room(flights, now_s) <= 0:
            return None
        self._turn = (self._turn + 1) % len(spans)
        ordered = [*spans[self._turn :], *spans[: self._turn]]
        for span in ordered:
            for first, flight in sorted(self._frames.get(span.stream_id, {}).items()):
                if flight.due_s <= now_s:
                    return NextFrame(span, max(first, span.low), repeats=first)
        for span in ordered:
            stream = self._frames.get(span.stream_id, {})
            first = _first_uncovered(span.low, stream)
            if first <= span.high and len(stream) < PER_STREAM:
                return NextFrame(span, first)
        return None

    def sent_frame(self, asked: NextFrame, first: int, last: int, now_s: float) -> None:
        """Note that the windows ``first`` to ``last`` went out for ``asked``."""
        stream = self._frames.setdefault(asked.span.stream_id, {})
        before = None if asked.repeats is None else stream.pop(asked.repeats, None)
        stream[first] = self._flight(before, last, now_s)

    def acknowledged(
        self, spans: Sequence[Span], boot: str, streams: Mapping[str, int], alerts: Sequence[str]
    ) -> None:
        """Note what the server has stored."""
        for event_id in alerts:
            self._alerts.pop(event_id, None)
        for span in spans:
            upto = streams.get(span.stream, 0) if span.boot == boot else 0
            stream = self._frames.get(span.stream_id, {})
            for first in [start for start, flight in stream.items() if flight.last <= upto]:
                del stream[first]

    def next_due_s(self, now_s: float) -> float | None:
        """Return when the next repeat is due, or ``None`` where none is."""
        flights = [*self._alerts.values()]
        for stream in self._frames.values():
            flights.extend(stream.values())
        return min((flight.due_s for flight in flights if flight.due_s > now_s), default=None)

    def on_the_way(self, now_s: float) -> int:
        """Return how many messages occupy a slot."""
        kinds = [self._alerts.values(), *(stream.values() for stream in self._frames.values())]
        return sum(_busy(kind, now_s) for kind in kinds)

    def _flight(self, before: Flight | None, last: int, now_s: float) -> Flight:
        attempts = 1 if before is None else before.attempts + 1
        wait = min(self.rules.cap_s, self.rules.timeout_s * 2.0 ** min(attempts - 1, 10))
        return Flight(last, now_s + wait, attempts)

    def _room(self, of_this_kind: Collection[Flight], now_s: float) -> int:
        if _parked(of_this_kind, now_s) >= MAX_PARKED:
            return 0
        here = self.rules.share - _busy(of_this_kind, now_s)
        return max(0, min(self.rules.slots - self.on_the_way(now_s), here))

    def _forget_absent(self, spans: Sequence[Span]) -> None:
        low = {span.stream_id: span.low for span in spans}
        for stream_id, stream in list(self._frames.items()):
            if stream_id not in low:
                del self._frames[stream_id]
                continue
            for first in [s for s, flight in stream.items() if flight.last < low[stream_id]]:
                del stream[first]


def _first_uncovered(low: int, stream: Mapping[int, Flight]) -> int:
    """Return the first window that is in no flight; a repeat may reach less far than the first."""
    covered = low
    for first, flight in sorted(stream.items()):
        if first > covered:
            break
        covered = max(covered, flight.last + 1)
    return covered


def _busy(flights: Collection[Flight], now_s: float) -> int:
    return sum(1 for f in flights if f.due_s > now_s and f.attempts <= PARK_AFTER)


def _parked(flights: Collection[Flight], now_s: float) -> int:
    return sum(1 for f in flights if f.due_s > now_s and f.attempts > PARK_AFTER)
