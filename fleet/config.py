"""What a fleet server is told: ``fleet.yaml``, its defaults and the environment over it."""

import ipaddress
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from edgeops import yamldoc
from edgeops.contracts.scalars import Id
from edgeops.errors import ContractError, UsageError
from edgeops.quantities import ByteSize, Duration

DEFAULT_STATE_DIR: Final = "edgeops-fleet"
ENVIRONMENT: Final = "EDGEOPS_FLEET"

REMOTE_WARNING: Final = (
    "listening beyond loopback: all three ports speak plain text, so TLS must be terminated in"
    " front of them (a reverse proxy for HTTP, the broker or a TLS proxy for MQTT)"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, what: str, default_port: int | None = None) -> "Address":
        """Read ``host:port`` or ``[v6]:port``; raises ``ContractError`` that names ``what``."""
        host, colon, port = text.rpartition(":")
        if not colon and default_port is not None:
            host, port = text, str(default_port)
        host = host.removeprefix("[").removesuffix("]")
        if not host or not (port.isascii() and port.isdigit() and int(port) <= 65_535):  # noqa: PLR2004
            raise ContractError(what, f"expected host:port, got {text!r}")
        return cls(host, int(port))

    @property
    def loopback(self) -> bool:
        """Return whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSection:
    """One port of ours.

    Attributes:
        listen: ``host:port``; port 0 takes a free one, written to ``state_dir/endpoints.json``.
    """

    listen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSection:
    """Which broker carries the messages.

    Attributes:
        kind: ``auto`` starts Mosquitto as a child where it is installed, else the built-in one.
        listen: Where a child of ours listens.
        address: The broker that somebody else runs (``external``).
        username, password_file: Our account there.
    """

    kind: Literal["auto", "mosquitto", "builtin", "external"] = "auto"
    listen: str = "127.0.0.1:1883"
    address: str | None = None
    username: Id = "edgeops-server"
    password_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSection:
    """Public release keys whose bundles may be pushed.

    Attributes:
        release: Files of public keys.
    """

    release: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSection:
    """How long what is kept.

    Attributes:
        frames: Telemetry.
        alerts: Alerts.
        dead_letters: How many messages that could not be taken.
        reports_per_device: How many reports of each device.
    """

    frames: Duration = Duration(30 * 86_400)
    alerts: Duration = Duration(365 * 86_400)
    dead_letters: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000
    reports_per_device: Annotated[int, Meta(ge=1, le=10_000)] = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSection:
    """How devices reach us, where that differs from where we listen (TLS proxy in front).

    Attributes:
        url: The device side's address, written into new ``agent.yaml`` files.
        mqtt: The broker's address, likewise.
    """

    url: str | None = None
    mqtt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """Everything a fleet server is told; relative paths are relative to the file's folder.

    Attributes:
        schema: Version of this format.
        state_dir: Folder for database, blobs, keys and the operator's token.
        tenant: First part of every topic.
        allow_remote: Listen on addresses that other machines reach.
        api: Operators' interface.
        device_http: Devices' interface: assignments and downloads.
        broker: Which broker carries the messages.
        trust: Whose bundles may be pushed.
        retention: How long what is kept.
        public: How devices reach us.
        max_bundle: Largest bundle that may be pushed.
        tick: Time between two looks at every rollout; a report wakes them sooner.
    """

    schema: Literal[1] = 1
    state_dir: str = DEFAULT_STATE_DIR
    tenant: Id = "default"
    allow_remote: bool = False
    api: ListenSection = ListenSection(listen="127.0.0.1:8420")
    device_http: ListenSection = ListenSection(listen="127.0.0.1:8443")
    broker: BrokerSection = field(default_factory=BrokerSection)
    trust: TrustSection = field(default_factory=TrustSection)
    retention: RetentionSection = field(default_factory=RetentionSection)
    public: PublicSection = field(default_factory=PublicSection)
    max_bundle: ByteSize = ByteSize(512 * 1000**2)
    tick: Duration = Duration(1.0)

    def state(self) -> Path:
        """Return the state folder."""
        return Path(self.state_dir)


def load(path: Path | None) -> FleetConfig:
    """Read ``fleet.yaml``; ``None`` gives the defaults, in the current folder.

    ``EDGEOPS_FLEET__STATE_DIR`` and the like override the file.

    Raises:
        StorageError: The file cannot be read.
        ContractError: Anything in it is wrong; all faults are listed.
    """
    overrides = yamldoc.environment(ENVIRONMENT, os.environ)
    if path is None:
        config = yamldoc.parse(b"", FleetConfig, name="defaults", overrides=overrides)
        return _resolved(config, Path.cwd())
    return _resolved(yamldoc.load(path, FleetConfig, overrides=overrides), path.parent.resolve())


def check(config: FleetConfig) -> None:
    """Check what one field alone cannot show.

    Raises:
        ContractError: An address is malformed, or the external broker lacks one.
        UsageError: An address that others reach, without ``allow_remote``.
    """
    if config.broker.kind == "external":
        if config.broker.address is None or config.broker.password_file is None:
            raise ContractError(
                "fleet.yaml: broker", "an external broker needs address and password_file"
            )
        Address.parse(config.broker.address, what="broker.address", default_port=1883)
    if config.tick <= 0:
        raise ContractError("fleet.yaml: tick", "must be more than 0")
    listening = {"api": config.api.listen, "device_http": config.device_http.listen}
    if config.broker.kind != "external":
        listening["broker"] = config.broker.listen
    for name, text in listening.items():
        address = Address.parse(text, what=f"{name}.listen")
        if not address.loopback and not config.allow_remote:
            raise UsageError(
                f"{name}.listen is {text}, which other machines reach: set allow_remote: true"
                " and terminate TLS in front of it"
            )


def _resolved(config: FleetConfig, folder: Path) -> FleetConfig:
    def beside(text: str) -> str:
        return str(folder / Path(text).expanduser())

    broker = config.broker
    if broker.password_file is not None:
        broker = replace(broker, password_file=beside(broker.password_file))
    return replace(
        config,
        state_dir=beside(config.state_dir),
        broker=broker,
        trust=TrustSection(release=tuple(beside(key) for key in config.trust.release)),
    )
