"""The last retained message of each topic, within bounds. Pure."""

from collections.abc import Iterator

from fleet.broker.limits import Limits
from fleet.broker.session import Message
from fleet.broker.topics import TopicTree


class RetainedMessages:
    """One message per topic, kept for later subscribers."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tree: TopicTree[Message] = TopicTree()
        self.total_bytes = 0

    def __len__(self) -> int:
        return len(self._tree)

    def keep(self, topic: str, payload: bytes, qos: int) -> bool:
        """Keep the message in place of the topic's last; an empty payload only clears.

        Returns:
            False where a bound is reached: then the topic has no retained message, rather than
            one that is no longer true.
        """
        if (old := self._tree.remove(topic)) is not None:
            self.total_bytes -= old.weight()
        if not payload:
            return True
        message = Message(topic, payload, qos, retain=True)
        if (
            len(self._tree) >= self._limits.max_retained_messages
            or self.total_bytes + message.weight() > self._limits.max_retained_bytes
        ):
            return False
        self._tree.put(topic, message)
        self.total_bytes += message.weight()
        return True

    def under(self, topic_filter: str) -> Iterator[Message]:
        """Yield each message whose topic falls under the filter."""
        return (message for _, message in self._tree.match(topic_filter))
