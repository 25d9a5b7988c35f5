"""What waits in memory for the next commit; bounded, and every loss has a name."""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.outbox.limits import OutboxLimits
from agent.outbox.store import StoredAlert, StoredWindow
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.telemetry import Ack

MAX_STATE_BYTES = 256 * 1024
MAX_STATES = 1000
MAX_WAITING_ACKS = 10_000


@dataclass(frozen=True, slots=True)
class WaitingAlert:
    """An alert that is not on disk yet, with the rule states that belong to it."""

    event: AlertEvent
    stored: StoredAlert
    states: Mapping[str, bytes]


@dataclass(slots=True)
class Waiting:
    """The writer's inbox; every method is called under the outbox's lock.

    Attributes:
        refusal: Why the disk refuses now, in one word; empty while it takes everything.
    """

    limits: OutboxLimits
    dropped: Counter[str] = field(default_factory=Counter)
    alerts: OrderedDict[str, WaitingAlert] = field(default_factory=OrderedDict)
    windows: deque[StoredWindow] = field(default_factory=deque)
    states: dict[str, bytes] = field(default_factory=dict)
    acked_streams: dict[tuple[str, str], int] = field(default_factory=dict)
    acked_alerts: dict[str, None] = field(default_factory=dict)
    refusal: str = ""

    def add_alert(self, alert: WaitingAlert) -> None:
        """Keep an alert; the oldest goes where there is no room, its rule state stays."""
        while len(self.alerts) >= self.limits.ram_alerts:
            _, oldest = self.alerts.popitem(last=False)
            self._keep_states(oldest.states)
            self.dropped[self._cause("alert")] += 1
        for key in alert.states:
            self.states.pop(key, None)  # older than what the alert brings
        self.alerts[alert.stored.event_id] = alert

    def add_window(self, window: StoredWindow) -> None:
        """Keep a window; the oldest goes where there is no room."""
        while len(self.windows) >= self.limits.ram_windows:
            self.windows.popleft()
            self.dropped[self._cause("window")] += 1
        self.windows.append(window)

    def add_state(self, key: str, data: bytes) -> bool:
        """Keep a state until the next commit; return whether it was taken."""
        full = key not in self.states and len(self.states) >= MAX_STATES
        if full or len(data) > MAX_STATE_BYTES:
            self.dropped["state_too_large"] += 1
            return False
        self.states[key] = data
        return True

    def add_ack(self, ack: Ack) -> None:
        """Keep what the server has stored; a loss costs one repeat."""
        for stream, upto in ack.streams.items():
            place = (ack.boot, stream)
            if place in self.acked_streams or len(self.acked_streams) < MAX_WAITING_ACKS:
                self.acked_streams[place] = max(upto, self.acked_streams.get(place, 0))
            else:
                self.dropped["ack_queue_full"] += 1
        for event_id in ack.alerts:
            waiting = self.alerts.pop(event_id, None)
            if waiting is not None:
                # Home already although the disk refused it: only its rule state is left to save.
                self._keep_states(waiting.states)
            elif len(self.acked_alerts) < MAX_WAITING_ACKS:
                self.acked_alerts[event_id] = None
            else:
                self.dropped["ack_queue_full"] += 1

    def committed(self, windows: Sequence[StoredWindow], states: Mapping[str, bytes]) -> None:
        """Let go of what is on disk now; what arrived meanwhile stays."""
        written = {id(window) for window in windows}
        while self.windows and id(self.windows[0]) in written:
            self.windows.popleft()
        for key, data in states.items():
            if self.states.get(key) is data:
                del self.states[key]

    def acknowledged(self, streams: Mapping[tuple[str, str], int], alerts: Sequence[str]) -> None:
        """Let go of acknowledgements that are carried out."""
        for place, upto in streams.items():
            if self.acked_streams.get(place) == upto:
                del self.acked_streams[place]
        for event_id in alerts:
            self.acked_alerts.pop(event_id, None)

    @property
    def empty(self) -> bool:
        """Return whether everything taken is on disk; waiting acknowledgements do not count."""
        return not (self.alerts or self.windows or self.states)

    def _keep_states(self, states: Mapping[str, bytes]) -> None:
        for key, data in states.items():
            self.states.setdefault(key, data)

    def _cause(self, what: str) -> str:
        return f"{what}_disk_{self.refusal}" if self.refusal else f"{what}_queue_full"
