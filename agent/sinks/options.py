"""What ``agent.yaml`` says about each kind of action."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from edgeops.quantities import ByteSize, Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Append each event as one JSON line; the full file becomes ``PATH.1`` and so on.

    Attributes:
        path: The file.
        max_size: Length from which a new file is begun.
        keep: Full files that are kept.
    """

    path: str
    max_size: ByteSize = ByteSize(10_000_000)
    keep: Annotated[int, Meta(ge=0, le=100)] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOptions:
    """Run a program, never through a shell.

    Attributes:
        argv: Program and arguments; ``{rule}``, ``{state}``, ``{severity}``, ``{device}`` and
            ``{alert_id}`` stand for the event's.
        timeout: After so long the program and its children are killed.
    """

    argv: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    timeout: Duration = Duration(10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """POST the event as JSON.

    Attributes:
        url: Where to.
        timeout: Longest time for one attempt.
        retries: Further attempts after the first, with growing waits.
    """

    url: Annotated[str, Meta(pattern=r"^https?://")]
    timeout: Duration = Duration(5.0)
    retries: Annotated[int, Meta(ge=0, le=20)] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """Publish the event as JSON to a broker on the spot, with QoS 1.

    Attributes:
        address: ``host:port``, ``mqtt://…`` or ``mqtts://…``.
        topic: Topic without wildcards.
        username: Account at the broker.
        password_file: File whose first line is the password.
        ca: File of an own certificate authority, for ``mqtts://``.
        timeout: Longest time for one event.
    """

    address: str
    topic: Annotated[str, Meta(pattern=r"^[^+#\x00]{1,500}$")]
    username: str | None = None
    password_file: str | None = None
    ca: str | None = None
    timeout: Duration = Duration(10.0)


ActionOptions = LogOptions | CommandOptions | WebhookOptions | MqttOptions

KINDS: Final[Mapping[str, type[ActionOptions]]] = {
    "log": LogOptions,
    "command": CommandOptions,
    "webhook": WebhookOptions,
    "mqtt": MqttOptions,
}
