"""The MQTT side joined: session to ingest, commits to acknowledgements, doorbells to the broker."""

import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence

from edgeops import codec
from edgeops.clock import Clock
from edgeops.topics import Kind, Topic, filter_for
from fleet.db.engine import Database
from fleet.devices import reports
from fleet.devices.ringer import Ringer
from fleet.mqtt import Delivery, MqttAccount, MqttSession
from fleet.telemetry.ingest import Ingest, IngestRules
from fleet.telemetry.messages import Raw
from fleet.telemetry.store import Outcome

logger = logging.getLogger(__name__)

HEARD = (Kind.CONN, Kind.REPORTED, Kind.TELEMETRY, Kind.ALERT)


class Wires:
    """Everything between the broker and the database.

    Args:
        on_reported: Called after a commit in which a device said something about itself.
    """

    def __init__(
        self,
        *,
        database: Database,
        account: MqttAccount,
        rules: IngestRules,
        ringer: Ringer,
        on_reported: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._database = database
        self._tenant = rules.tenant
        self._ringer = ringer
        self._on_reported = on_reported
        self._ingest: Ingest[Delivery] = Ingest(
            database=database,
            rules=rules,
            clock=clock,
            on_stored=self._stored,
            on_room=self._room,
        )
        self._session = MqttSession(
            account=account,
            filters=[filter_for(tenant=rules.tenant, kind=kind) for kind in HEARD],
            on_message=self._heard,
            on_up=self._up,
            on_taken=ringer.taken,
            clock=clock,
        )
        self._counts: Counter[str] = Counter()

    @property
    def connected(self) -> bool:
        """Return whether the session with the broker is up."""
        return self._session.connected

    async def wait_connected(self) -> None:
        """Wait until the session is up; raises ``TransportError`` where we are refused."""
        await self._session.wait_connected()

    def loops(self) -> list[Coroutine[None, None, None]]:
        """Return what must run for messages to flow."""
        return [self._session.run(), self._ingest.run(), self._ringer.run(self._session)]

    def counts(self) -> Counter[str]:
        """Return what this process received, stored, dropped and answered."""
        return (
            self._counts
            + self._ingest.counts
            + Counter(mqtt_reconnects=self._session.reconnects, waiting=self._ingest.waiting)
        )

    def forget(self, device: str) -> None:
        """Remove a decommissioned device's retained word from the broker."""
        topic = Topic(tenant=self._tenant, device=device, kind=Kind.CONN)
        self._session.publish(str(topic), b"", qos=1, retain=True)

    async def _up(self) -> None:
        # Wills of devices that died with the broker never come; the retained words of those
        # that are connected do, right after we subscribe.
        await self._database.write(reports.all_offline)
        self._ringer.reconnected()

    def _heard(self, topic: str, payload: bytes, delivery: Delivery) -> None:
        if not payload:  # a retained word was removed
            self._session.acknowledge(delivery)
            return
        if not self._ingest.offer(Raw(topic, payload), delivery):
            # It would hold a place in the broker's window for ever; the device sends it again.
            self._session.acknowledge(delivery)
        if self._ingest.full:
            self._session.pause()

    def _room(self) -> None:
        self._session.resume()

    def _stored(self, deliveries: Sequence[Delivery], outcome: Outcome) -> None:
        for delivery in deliveries:
            self._session.acknowledge(delivery)
        for device, ack in outcome.acks:
            topic = Topic(tenant=self._tenant, device=device, kind=Kind.ACK)
            sent = self._session.publish(str(topic), codec.canonical(ack), qos=0)
            # One that is lost costs a repeat: the device asks again and is told again.
            self._counts["acks_lost" if sent is None else "acks"] += 1
        if outcome.reported:
            self._on_reported()
