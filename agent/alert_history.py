"""The last alerts of a device, from the running agent or from what it left on disk."""

from pathlib import Path

from agent.api import MAX_ANSWER, ask
from agent.outbox.reading import Reader
from agent.status import AlertList
from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from edgeops.errors import TransportError


def recent_alerts(state_dir: Path, limit: int) -> tuple[AlertEvent, ...]:
    """Return the last alerts, newest first.

    Raises:
        TransportError: No agent is running, and none has ever run here.
    """
    try:
        answer = ask(state_dir, f"/v1/alerts?limit={limit}")
    except TransportError:
        path = state_dir / "outbox.sqlite"
        if not path.is_file():
            reason = f"no agent is running on {state_dir}, and none has run there"
            raise TransportError(reason) from None
        reader = Reader(path)
        try:
            return reader.recent(limit)
        finally:
            reader.close()
    return codec.decode(answer, AlertList, where="alerts", limit=MAX_ANSWER).alerts
