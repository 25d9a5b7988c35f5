"""What the broker remembers of one client: subscriptions, queue, messages in flight. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fleet.broker.acl import Permissions
from fleet.broker.limits import Close
from fleet.broker.packets import HIGHEST_PACKET_ID, Publish

MESSAGE_OVERHEAD_BYTES: Final = 200
"""Counted per queued message beside its payload and topic, so that empty ones weigh too."""


@dataclass(frozen=True, slots=True)
class Message:
    """One application message on its way to subscribers; shared between their queues.

    Attributes:
        qos: 0 or 1, the lower of what publisher and subscriber chose.
        retain: It is sent because it was retained, not because it is new.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool = False

    def weight(self) -> int:
        """Return the bytes to account for while it waits."""
        return len(self.payload) + len(self.topic) + MESSAGE_OVERHEAD_BYTES


class Link(Protocol):
    """A client's connection as its session sees it."""

    def send(self, packet: Publish) -> None:
        """Write one message."""
        ...

    def is_congested(self) -> bool:
        """Return whether further messages should wait."""
        ...

    def close(self, cause: Close) -> None:
        """End the connection at once."""
        ...


@dataclass(frozen=True, slots=True)
class Subscription:
    """One granted filter.

    Attributes:
        qos: Highest QoS of delivery, 0 or 1.
        is_checked: Each message must still be asked for, because only part of it is readable.
    """

    qos: int
    is_checked: bool


@dataclass(slots=True)
class Waiting:
    """Bytes that wait in the queues of all sessions together."""

    used_bytes: int = 0


class Session:
    """One client's state; outlives its connection when it is not clean.

    Args:
        max_inflight: Most QoS 1 messages sent and not acknowledged.
        waiting: Shared by all sessions, kept up to date by each.
    """

    def __init__(
        self,
        *,
        client_id: str,
        username: str | None,
        is_clean: bool,
        permissions: Permissions,
        max_inflight: int,
        waiting: Waiting,
    ) -> None:
        self.client_id = client_id
        self.username = username
        self.is_clean = is_clean
        self.permissions = permissions
        self.link: Link | None = None
        self.offline_since_s = 0.0
        self.subscriptions: dict[str, Subscription] = {}
        self.queued_bytes = 0
        self._max_inflight = max_inflight
        self._waiting = waiting
        self._inflight: dict[int, Message] = {}  # in the order of sending [4.6.0-1]
        self._queue: deque[Message] = deque()
        self._last_id = 0

    @property
    def queued(self) -> int:
        """Messages that wait and were not sent yet."""
        return len(self._queue)

    @property
    def inflight(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._inflight)

    def send_or_queue(self, message: Message) -> None:
        """Send now where nothing waits and the window is open, else queue.

        The caller has asked ``fits``; order among a client's messages is kept.
        """
        link = self.link
        if link is not None and not self._queue and self._may_send(message, link):
            self._send(message, link)
            return
        self._queue.append(message)
        self._account(message.weight())

    def would_queue(self, message: Message) -> bool:
        """Return whether ``send_or_queue`` would have to queue the message."""
        link = self.link
        return link is None or bool(self._queue) or not self._may_send(message, link)

    def pump(self) -> None:
        """Send what may be sent now."""
        link = self.link
        while link is not None and self._queue and self._may_send(self._queue[0], link):
            message = self._queue.popleft()
            self._account(-message.weight())
            self._send(message, link)

    def resume(self) -> None:
        """Send again what the last connection left unacknowledged, then the queue [4.4.0-1].

        The window is sent whole, congested or not: it is bounded and comes first.
        """
        if (link := self.link) is None:
            return
        for packet_id, message in self._inflight.items():
            link.send(_packet(message, packet_id, dup=True))
        self.pump()

    def acknowledge(self, packet_id: int) -> bool:
        """Free a place in the window; return False for an id that was not in flight."""
        if self._inflight.pop(packet_id, None) is None:
            return False
        self.pump()
        return True

    def retain_only(self, wanted: Callable[[Message], bool]) -> int:
        """Forget waiting and unacknowledged messages that are not wanted; return their number."""
        before = len(self._inflight) + len(self._queue)
        self._inflight = {key: one for key, one in self._inflight.items() if wanted(one)}
        self._queue = deque(one for one in self._queue if wanted(one))
        self._account(sum(one.weight() for one in self._queue) - self.queued_bytes)
        return before - len(self._inflight) - len(self._queue)

    def _account(self, more_bytes: int) -> None:
        self.queued_bytes += more_bytes
        self._waiting.used_bytes += more_bytes

    def _may_send(self, message: Message, link: Link) -> bool:
        if message.qos and len(self._inflight) >= self._max_inflight:
            return False
        return not link.is_congested()

    def _send(self, message: Message, link: Link) -> None:
        packet_id = 0
        if message.qos:
            packet_id = self._free_id()
            self._inflight[packet_id] = message
        link.send(_packet(message, packet_id, dup=False))

    def _free_id(self) -> int:
        # Ends: the window is far smaller than the 65535 ids.
        while True:
            self._last_id = self._last_id % HIGHEST_PACKET_ID + 1
            if self._last_id not in self._inflight:
                return self._last_id


def _packet(message: Message, packet_id: int, *, dup: bool) -> Publish:
    return Publish(
        topic=message.topic,
        payload=message.payload,
        qos=message.qos,
        retain=message.retain,
        dup=dup,
        packet_id=packet_id,
    )
