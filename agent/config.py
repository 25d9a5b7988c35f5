"""``agent.yaml``: read once, every fault at once with its line, then frozen.

Order: defaults, file, ``EDGEOPS_AGENT__…`` variables, flags. Relative paths are relative to the
file's folder. What the parts receive are values of this module, never the file.
"""

import difflib
import functools
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta

from agent.broker_address import BrokerAddress
from agent.config_sections import LineFinder, SectionReader
from agent.outbox.limits import OutboxLimits
from agent.rules.config import RuleOptions, read_rule
from agent.rules.rulebook import Rule
from agent.sinks.command import PLACEHOLDERS, unknown_placeholders
from agent.sinks.options import KINDS as ACTION_KINDS
from agent.sinks.options import ActionOptions, CommandOptions, LogOptions, MqttOptions
from agent.sources.options import KINDS as SOURCE_KINDS
from agent.sources.options import CameraOptions, SourceOptions
from agent.update.rules import UpdateRules
from edgeops import yamldoc
from edgeops.contracts.manifest import FreeForm
from edgeops.contracts.scalars import Id, Name, Precision, Runtime
from edgeops.errors import ContractError, StorageError
from edgeops.quantities import Duration
from edgeops.topics import ID

T = TypeVar("T")

ENVIRONMENT: Final = "EDGEOPS_AGENT"
LOCAL_SLOT: Final = "local-"
MAX_RULE_NAME: Final = 100
"""As ``AlertEvent.rule`` has it."""

Section = dict[str, dict[str, FreeForm]]
"""Read in a second step, see ``config_sections``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions:
    """Who this device is.

    Attributes:
        id: The name that it was enrolled under.
        site: Where it stands; for people.
        labels: Words that rollouts select devices by, such as ``line: "3"``.
    """

    id: Id
    site: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """Where the fleet server is; ``https://`` and ``mqtts://`` switch TLS on.

    Attributes:
        url: The server's device side.
        mqtt: The broker: ``host:port``, ``mqtt://…`` or ``mqtts://…``.
        tenant: Tenant that it was enrolled in.
        credential: File with this device's secret, as enrolment wrote it.
        ca: File of an own certificate authority.
        reconcile: Mean time between two looks for a new assignment when no bell rang.
    """

    url: Annotated[str, Meta(pattern=r"^https?://")]
    mqtt: str
    tenant: Id = "default"
    credential: str = "credential.json"
    ca: str | None = None
    reconcile: Duration = Duration(900.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustOptions:
    """Files of the public keys that this device trusts.

    Attributes:
        release: Keys that bundles must be signed by; empty: digests alone are checked.
        director: Keys that assignments must be signed by.
    """

    release: tuple[str, ...] = ()
    director: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """Where the local status answers; loopback only. Port 0: any free one.

    Attributes:
        listen: Loopback address and port; port 0 takes a free one, written to
            ``state_dir/api.json``.
    """

    listen: str = "127.0.0.1:0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What answers: a slot that the fleet fills, or a bundle on this disk.

    Attributes:
        slot: Slot that the fleet fills; either this or ``bundle``.
        bundle: Bundle folder or ``.edgeops`` file on this disk.
        runtime: Wanted runtime; ``auto`` takes the manifest's first that runs here.
        precision: Wanted precision; ``auto`` takes the manifest's first that runs here.
        threads: Threads of one inference.
    """

    slot: Name | None = None
    bundle: str | None = None
    runtime: Runtime | Literal["auto"] = "auto"
    precision: Precision | Literal["auto"] = "auto"
    threads: Annotated[int, Meta(ge=1, le=64)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineEntry:
    """One source through one model.

    Attributes:
        source: Name of a source.
        model: Name of a model.
        interval: Shortest evidence time between two inferences.
        window: Length of a telemetry window.
    """

    source: str
    model: str
    interval: Duration = Duration(0.0)
    window: Duration = Duration(60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The file as it stands; sections of several kinds are read afterwards.

    Attributes:
        schema: Version of this format.
        device: Who this device is.
        state_dir: Folder for everything that the agent keeps; one agent at a time.
        fleet: The fleet that it belongs to; without it the device works alone.
        trust: Public keys that decide what may run here.
        api: Local status interface.
        sources: What it looks at, by name.
        models: What answers, by name.
        pipelines: Which source goes through which model, by name.
        rules: What makes an alert, by name.
        actions: What an alert does, by name.
        outbox: Bounds of what waits for the fleet.
        updates: What is accepted as an update.
    """

    schema: Literal[1]
    device: DeviceOptions
    state_dir: str = "state"
    fleet: FleetOptions | None = None
    trust: TrustOptions = field(default_factory=TrustOptions)
    api: ApiOptions = field(default_factory=ApiOptions)
    sources: Section = field(default_factory=dict)
    models: dict[str, ModelOptions] = field(default_factory=dict)
    pipelines: dict[str, PipelineEntry] = field(default_factory=dict)
    rules: Section = field(default_factory=dict)
    actions: Section = field(default_factory=dict)
    outbox: OutboxLimits = field(default_factory=OutboxLimits)
    updates: UpdateRules = field(default_factory=UpdateRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The whole configuration, checked, with absolute paths.

    Attributes:
        file: Where it was read from.
    """

    file: Path
    device: DeviceOptions
    state_dir: Path
    fleet: FleetOptions | None
    trust: TrustOptions
    api: ApiOptions
    sources: dict[str, SourceOptions]
    models: dict[str, ModelOptions]
    pipelines: dict[str, PipelineEntry]
    rules: dict[str, Rule]
    actions: dict[str, ActionOptions]
    outbox: OutboxLimits
    updates: UpdateRules

    def slot_of(self, model: str) -> str:
        """Return the slot of a model; a bundle on this disk has one named after the model."""
        return self.models[model].slot or f"{LOCAL_SLOT}{model}"


def load_config(path: Path, variables: Mapping[str, str]) -> AgentConfig:
    """Read and check a configuration.

    Args:
        path: The YAML file.
        variables: The environment; ``EDGEOPS_AGENT__STATE_DIR`` and the like lie over the file.

    Raises:
        StorageError: The file cannot be read.
        FaultyDocumentError: Anything is wrong with it; all faults are listed.
    """
    overrides = yamldoc.environment(ENVIRONMENT, variables)
    data = _read(path)
    try:
        document = yamldoc.parse(data, Document, name=path.name, overrides=overrides)
    except yamldoc.FaultyDocumentError as error:
        raise _with_sections(path.name, data, error) from error
    reader = SectionReader(LineFinder(data))
    sources = _kinds(reader, "sources", document.sources, SOURCE_KINDS)
    actions = _kinds(reader, "actions", document.actions, ACTION_KINDS)
    rules = _rules(reader, document)
    _check(reader, document, actions)
    if reader.faults:
        raise _all_faults(path.name, reader.faults)
    folder = path.resolve().parent
    return AgentConfig(
        file=path.resolve(),
        device=document.device,
        state_dir=folder / document.state_dir,
        fleet=None if document.fleet is None else _fleet_at(folder, document.fleet),
        trust=TrustOptions(
            release=tuple(str(folder / name) for name in document.trust.release),
            director=tuple(str(folder / name) for name in document.trust.director),
        ),
        api=document.api,
        sources={name: _source_at(folder, options) for name, options in sources.items()},
        models={name: _model_at(folder, options) for name, options in document.models.items()},
        pipelines=document.pipelines,
        rules=rules,
        actions={name: _action_at(folder, options) for name, options in actions.items()},
        outbox=document.outbox,
        updates=document.updates,
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(yamldoc.MAX_BYTES + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def _all_faults(name: str, faults: Iterable[yamldoc.Fault]) -> yamldoc.FaultyDocumentError:
    ordered = sorted(faults, key=lambda fault: (fault.line, fault.path))
    return yamldoc.FaultyDocumentError(name, ordered)


def _with_sections(
    name: str, data: bytes, error: yamldoc.FaultyDocumentError
) -> yamldoc.FaultyDocumentError:
    """Return ``error`` with what is wrong inside the sections read later, so nobody fixes twice."""
    read = yamldoc.plain(data, name=name)
    whole = read if isinstance(read, dict) else {}
    reader = SectionReader(LineFinder(data))
    for section in ("sources", "actions", "rules"):
        entries = whole.get(section)
        for key, entry in entries.items() if isinstance(entries, dict) else ():
            path = f"{section}.{key}"
            if not isinstance(entry, dict):
                continue  # noted already
            if section == "rules":
                reader.one(path, entry, RuleOptions)
            elif section == "sources":
                reader.by_type(path, entry, SOURCE_KINDS)
            else:
                reader.by_type(path, entry, ACTION_KINDS)
    return _all_faults(name, (*error.faults, *reader.faults))


def _fault_below(reader: SectionReader, path: str, key: str, reason: str) -> None:
    reader.fault(f"{path}.{key}", reason)


def _kinds(
    reader: SectionReader, section: str, entries: Section, kinds: Mapping[str, type[T]]
) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, entry in entries.items():
        options = reader.by_type(f"{section}.{name}", entry, kinds)
        if options is not None:
            found[name] = options
    return found


def _rules(reader: SectionReader, document: Document) -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for name, entry in document.rules.items():
        path = f"rules.{name}"
        options = reader.one(path, entry, RuleOptions)
        if options is None:
            continue
        if options.pipeline not in document.pipelines:
            _unknown(reader, f"{path}.pipeline", options.pipeline, document.pipelines)
        for action in options.do:
            if action not in document.actions:
                _unknown(reader, f"{path}.do", action, document.actions)
        rule = read_rule(name, options, functools.partial(_fault_below, reader, path))
        if rule is not None:
            found[name] = rule
    return found


def _check(reader: SectionReader, document: Document, actions: Mapping[str, ActionOptions]) -> None:
    """Find what no single value shows: references, addresses, names that go on the wire."""
    for name, entry in document.pipelines.items():
        _check_pipeline(reader, f"pipelines.{name}", name, entry, document)
    for name, model in document.models.items():
        _check_model(reader, f"models.{name}", model)
    for name in document.rules:
        if not 1 <= len(name) <= MAX_RULE_NAME:
            reader.fault(f"rules.{name}", f"a rule's name has 1-{MAX_RULE_NAME} characters")
    for name, options in actions.items():
        _check_action(reader, f"actions.{name}", options)
    _check_listen(reader, document.api.listen)
    _check_fleet(reader, document)


def _check_pipeline(
    reader: SectionReader, path: str, name: str, entry: PipelineEntry, document: Document
) -> None:
    if not ID.fullmatch(name):
        reader.fault(path, "a pipeline's name is 1-64 letters, digits, '_' or '-'")
    if entry.source not in document.sources:
        _unknown(reader, f"{path}.source", entry.source, document.sources)
    if entry.model not in document.models:
        _unknown(reader, f"{path}.model", entry.model, document.models)
    if entry.window <= 0.0:
        reader.fault(f"{path}.window", "Expected a window longer than 0 s")


def _check_model(reader: SectionReader, path: str, model: ModelOptions) -> None:
    if (model.slot is None) == (model.bundle is None):
        reader.fault(path, "Expected either slot or bundle")
    elif model.slot is not None and model.slot.startswith(LOCAL_SLOT):
        reader.fault(f"{path}.slot", f"names that start with {LOCAL_SLOT} are kept for bundles")


def _check_fleet(reader: SectionReader, document: Document) -> None:
    has_slot = any(model.slot is not None for model in document.models.values())
    if document.fleet is None:
        if has_slot:
            reader.fault("models", "a slot is filled by a fleet; without fleet: name a bundle")
        return
    _check_broker(reader, "fleet.mqtt", document.fleet.mqtt)
    for role, keys in (("release", document.trust.release), ("director", document.trust.director)):
        if has_slot and not keys:
            reader.fault(f"trust.{role}", "a device whose models come from a fleet needs a key")


def _check_action(reader: SectionReader, path: str, options: ActionOptions) -> None:
    if isinstance(options, MqttOptions):
        _check_broker(reader, f"{path}.address", options.address)
    if isinstance(options, CommandOptions):
        for placeholder in unknown_placeholders(options.argv):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            reader.fault(f"{path}.argv", f"unknown placeholder {{{placeholder}}}; known: {known}")


def _check_broker(reader: SectionReader, path: str, address: str) -> None:
    try:
        BrokerAddress.parse(address)
    except ContractError as error:
        reader.fault(path, error.reason)


def _check_listen(reader: SectionReader, listen: str) -> None:
    try:
        listen_address(listen)
    except ContractError as error:
        reader.fault("api.listen", error.reason)


def listen_address(text: str) -> tuple[str, int]:
    """Return host and port of a loopback address such as ``127.0.0.1:8471``.

    Raises:
        ContractError: Not an address, or one that others can reach.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        raise ContractError("listen", f"{text!r} is not HOST:PORT")
    host = host.strip("[]")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ContractError("listen", f"{host!r} is not a loopback address such as 127.0.0.1")
    return host, int(port)


def _unknown(reader: SectionReader, path: str, name: str, known: Mapping[str, object]) -> None:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
    reader.fault(path, f"nothing is named {name!r}; {hint}")


def _fleet_at(folder: Path, fleet: FleetOptions) -> FleetOptions:
    ca = None if fleet.ca is None else str(folder / fleet.ca)
    return replace(fleet, credential=str(folder / fleet.credential), ca=ca)


def _source_at(folder: Path, options: SourceOptions) -> SourceOptions:
    if isinstance(options, CameraOptions):
        return options
    return replace(options, path=str(folder / options.path))


def _model_at(folder: Path, options: ModelOptions) -> ModelOptions:
    if options.bundle is None:
        return options
    return replace(options, bundle=str(folder / options.bundle))


def _action_at(folder: Path, options: ActionOptions) -> ActionOptions:
    if isinstance(options, LogOptions):
        return replace(options, path=str(folder / options.path))
    if isinstance(options, MqttOptions):
        password = options.password_file
        return replace(
            options,
            password_file=None if password is None else str(folder / password),
            ca=None if options.ca is None else str(folder / options.ca),
        )
    return options
