"""What the routes need, handed to them by the composition root."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from edgeops.clock import Clock
from edgeops.trust import VerifyKey
from fleet.db.engine import Database
from fleet.devices.assignments import Assigner
from fleet.registry.push import Pusher
from fleet.state import Endpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """The server as its routes see it.

    Attributes:
        reserved: The server's own user name at the broker.
        endpoints: How devices reach us.
        accounts_changed: Awaited after a device came or went.
        gone: Called with the id of a device that was decommissioned.
        ring: Called after doorbells were written.
        tick: Called after a rollout was changed.
        live: Figures of this process by name, for ``/metrics``.
        connected: Whether the session with the broker is up.
    """

    database: Database
    pusher: Pusher
    assigner: Assigner
    clock: Clock
    tenant: str
    reserved: str
    director: VerifyKey
    release: Mapping[str, VerifyKey]
    endpoints: Endpoints
    accounts_changed: Callable[[], Awaitable[object]]
    gone: Callable[[str], None]
    ring: Callable[[], None]
    tick: Callable[[], None]
    live: Callable[[], Mapping[str, Counter[str]]]
    connected: Callable[[], bool]
