"""Who gets what: sessions, subscriptions, retained messages and their bounds. No I/O."""

from collections import Counter
from collections.abc import Iterable, Iterator

from fleet.broker.acl import Grant, Permissions
from fleet.broker.limits import Close, Drop, Limits, Tally
from fleet.broker.packets import SUBSCRIPTION_REFUSED
from fleet.broker.retained import RetainedMessages
from fleet.broker.session import Link, Message, Session, Subscription, Waiting
from fleet.broker.topics import FilterTree


class Router:
    """The broker's state and decisions; connections call it and are called through ``Link``.

    Args:
        tally: Counts what is dropped, by cause.
    """

    def __init__(self, limits: Limits, tally: Tally) -> None:
        self._limits = limits
        self._tally = tally
        self._sessions: dict[str, Session] = {}
        self._sessions_of: Counter[str | None] = Counter()
        self._filters: FilterTree[Session, Subscription] = FilterTree()
        self.retained = RetainedMessages(limits)
        self._waiting = Waiting()

    def sessions(self) -> Iterator[Session]:
        """Yield every session, with and without connection."""
        return iter(list(self._sessions.values()))

    def session(self, client_id: str) -> Session | None:
        """Return the client's session."""
        return self._sessions.get(client_id)

    def attach(
        self,
        *,
        client_id: str,
        username: str | None,
        is_clean: bool,
        permissions: Permissions,
        link: Link,
    ) -> tuple[Session, bool] | None:
        """Give a new connection its session, ending an older connection of the same client.

        Returns:
            The session, and whether it remembers an earlier connection; None where no further
            session fits. Call ``resume`` on it once the client was told.
        """
        old = self._sessions.get(client_id)
        if old is not None and old.link is not None:
            old.link.close(Close.TAKEN_OVER)  # publishes its will, may discard the session
            old = self._sessions.get(client_id)
        if old is not None and (is_clean or old.username != username):
            self.discard(old)
            old = None
        if old is None:
            if not self._has_room(username):
                return None
            session = Session(
                client_id=client_id,
                username=username,
                is_clean=is_clean,
                permissions=permissions,
                max_inflight=self._limits.max_inflight,
                waiting=self._waiting,
            )
            self._sessions[client_id] = session
            self._sessions_of[username] += 1
        else:
            session = old
        session.permissions = permissions
        session.link = link
        return session, old is not None

    def detach(self, session: Session, now_s: float) -> None:
        """Note that the session's connection is gone; a clean session goes with it."""
        session.link = None
        session.offline_since_s = now_s
        if session.is_clean:
            self.discard(session)

    def discard(self, session: Session) -> None:
        """Forget a session with all it holds."""
        lost = session.retain_only(lambda _: False)
        if lost and not session.is_clean:
            self._tally.dropped[Drop.SESSION_DISCARDED] += lost
        for topic_filter in session.subscriptions:
            self._filters.remove(topic_filter, session)
        session.subscriptions.clear()
        if self._sessions.get(session.client_id) is session:
            del self._sessions[session.client_id]
            self._sessions_of[session.username] -= 1
            if not self._sessions_of[session.username]:
                del self._sessions_of[session.username]

    def _has_room(self, username: str | None) -> bool:
        """Return whether the user, or one more client without a name, may have a new session."""
        if len(self._sessions) >= self._limits.max_sessions:
            return False
        return username is None or self._sessions_of[username] < self._limits.max_sessions_per_user

    def expire(self, now_s: float) -> None:
        """Forget sessions whose client stayed away too long."""
        for session in self.sessions():
            away_s = now_s - session.offline_since_s
            if session.link is None and away_s > self._limits.offline_expiry_s:
                self.discard(session)

    def publish(self, *, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Keep the message where asked and hand it to every subscriber once."""
        if retain and not self.retained.keep(topic, payload, qos):
            self._tally.dropped[Drop.RETAINED_FULL] += 1
        by_qos = [Message(topic, payload, 0), Message(topic, payload, 1)]
        for session, granted in self._receivers(topic):
            self._deliver(session, by_qos[min(qos, granted)])

    def _receivers(self, topic: str) -> Iterable[tuple[Session, int]]:
        found: dict[Session, int] = {}
        for session, subscription in self._filters.match(topic):
            if subscription.is_checked and not session.permissions.may_read(topic):
                self._tally.dropped[Drop.DENIED_READ] += 1
                continue
            found[session] = max(subscription.qos, found.get(session, 0))
        return found.items()

    def _deliver(self, session: Session, message: Message) -> None:
        cause = self._refusal(session, message) if session.would_queue(message) else None
        if cause is None:
            session.send_or_queue(message)
        else:
            self._tally.dropped[cause] += 1

    def _refusal(self, session: Session, message: Message) -> Drop | None:
        """Return why the message may not wait in the session's queue."""
        is_offline = session.link is None
        if is_offline and message.qos == 0:
            return Drop.OFFLINE_QOS0
        weight = message.weight()
        if (
            session.queued >= self._limits.max_queued_messages
            or session.queued_bytes + weight > self._limits.max_queued_bytes
        ):
            return Drop.OFFLINE_QUEUE_FULL if is_offline else Drop.SLOW_CONSUMER
        if self._waiting.used_bytes + weight > self._limits.max_total_queued_bytes:
            return Drop.BROKER_QUEUES_FULL
        return None

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> int:
        """Grant a filter; return the code for the SUBACK.

        ``$share/…`` is refused: shared subscriptions are no part of MQTT 3.1.1, and a filter that
        silently never matches would be worse.
        """
        grant = session.permissions.grant(topic_filter)
        is_full = len(session.subscriptions) >= self._limits.max_subscriptions
        if (
            grant is Grant.REFUSED
            or topic_filter.startswith("$share/")
            or (is_full and topic_filter not in session.subscriptions)
        ):
            return SUBSCRIPTION_REFUSED
        subscription = Subscription(min(qos, 1), is_checked=grant is Grant.PARTIAL)
        session.subscriptions[topic_filter] = subscription
        self._filters.add(topic_filter, session, subscription)
        return subscription.qos

    def send_retained(self, session: Session, topic_filter: str) -> None:
        """Deliver what is retained under a filter just granted [3.3.1-6]."""
        subscription = session.subscriptions[topic_filter]
        for kept in self.retained.under(topic_filter):
            if subscription.is_checked and not session.permissions.may_read(kept.topic):
                continue
            qos = min(kept.qos, subscription.qos)
            message = kept if kept.qos == qos else Message(kept.topic, kept.payload, qos, True)
            self._deliver(session, message)

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Take a filter away; none is fine too."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._filters.remove(topic_filter, session)

    def repermit(self, session: Session, permissions: Permissions) -> None:
        """Put new permissions in force, also for what is subscribed and waits already."""
        session.permissions = permissions
        for topic_filter, old in list(session.subscriptions.items()):
            is_checked = permissions.grant(topic_filter) is not Grant.FULL
            changed = Subscription(old.qos, is_checked=is_checked)
            session.subscriptions[topic_filter] = changed
            self._filters.add(topic_filter, session, changed)
        lost = session.retain_only(lambda message: permissions.may_read(message.topic))
        self._tally.dropped[Drop.DENIED_READ] += lost
