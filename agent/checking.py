"""What a configuration can be told before it runs: rules against models, files that are missing."""

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.broker_address import BrokerAddress
from agent.config import AgentConfig
from agent.config_sections import LineFinder
from agent.rules.grammar import mismatches
from agent.rules.rulebook import Rule
from agent.sinks.options import CommandOptions
from agent.sources.options import CameraOptions
from edgeops import bundle as bundles
from edgeops.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MAX_MEMBERS,
    SUFFIX,
    open_folder,
    parse_manifest,
)
from edgeops.codec import read as read_json
from edgeops.contracts.credential import Credential
from edgeops.contracts.manifest import Manifest, Task
from edgeops.errors import ContractError, EdgeOpsError, StorageError, TrustError
from edgeops.tar_headers import refuse_foreign_headers
from edgeops.trust import TrustStore
from edgeops.yamldoc import Fault, FaultyDocumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What ``agent check`` found.

    Attributes:
        faults: The agent would not run, or would not do what the document says.
        warnings: May be right at run time, such as a file on a disk that is not mounted now.
    """

    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()


def refuse_unsuitable_rules(config: AgentConfig) -> None:
    """Raise ``FaultyDocumentError`` where a rule asks what its bundle cannot answer."""
    faults = list(_rule_faults(config, _Places(config.file)))
    if faults:
        raise FaultyDocumentError(config.file.name, faults)


def check(config: AgentConfig) -> Findings:
    """Look at everything that the configuration names; nothing is changed."""
    places = _Places(config.file)
    faults = [*_rule_faults(config, places), *_file_faults(config, places)]
    return Findings(
        faults=tuple(sorted(faults, key=lambda fault: (fault.line, fault.path))),
        warnings=tuple(_warnings(config)),
    )


class _Places:
    """Makes faults with their lines; the file is read only if there is one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: LineFinder | None = None

    def fault(self, path: str, reason: str) -> Fault:
        if self._lines is None:
            self._lines = LineFinder(self._file.read_bytes())
        return Fault(self._lines.line_of(path), path, reason)


def _rule_faults(config: AgentConfig, places: _Places) -> Iterator[Fault]:
    tasks = _known_tasks(config)
    for name, rule in config.rules.items():
        task = tasks.get(config.pipelines[rule.pipeline].model)
        if task is not None:
            for key, reason in _mismatches_of(rule, task):
                yield places.fault(f"rules.{name}.{key}", reason)


def _mismatches_of(rule: Rule, task: Task) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for key, expression in (("when", rule.when), ("clear", rule.clear)):
        for reason in mismatches(expression, task.type, task.labels):
            if reason not in seen:
                seen.add(reason)
                yield key, reason


def _known_tasks(config: AgentConfig) -> dict[str, Task]:
    """Return the task of every model whose bundle stands on this disk and can be read."""
    tasks: dict[str, Task] = {}
    for name, model in config.models.items():
        path = config.state_dir / "slots" / str(model.slot) / "current"
        if model.bundle is not None:
            path = Path(model.bundle)
        try:
            tasks[name] = _manifest(path).task
        except EdgeOpsError:
            continue  # reported on its own, or not there yet
    return tasks


def _manifest(path: Path) -> Manifest:
    """Return the manifest of a bundle folder or ``.edgeops`` file, unverified."""
    if path.is_dir() or path.suffix != SUFFIX:
        return open_folder(path).manifest
    return parse_manifest(first_member(path))


def first_member(path: Path) -> bytes:
    """Return the manifest's bytes of a packed bundle, without unpacking it.

    Raises:
        StorageError: The file cannot be read.
        ContractError: Not a bundle.
    """
    if path.is_fifo():
        raise StorageError(f"cannot read {path}: not a file")
    try:
        with path.open("rb") as source:
            refuse_foreign_headers(source, path.name, most=MAX_MEMBERS)
        with tarfile.open(path, mode="r:") as tar:
            member = tar.next()
            file = None if member is None else tar.extractfile(member)
            if member is None or member.name != MANIFEST or file is None:
                raise ContractError(path.name, f"does not start with {MANIFEST}")
            return file.read(MAX_MANIFEST_BYTES)
    except (tarfile.TarError, OverflowError) as error:
        raise ContractError(path.name, f"is not a whole bundle: {error}") from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def _look_into(bundle: Path, trust: TrustStore | None) -> None:
    """Raise what ``agent run`` would raise, without unpacking anything into the state folder."""
    with tempfile.TemporaryDirectory() as folder, bundles.opened(bundle, Path(folder)) as found:
        bundles.verify(found, trust)


def _file_faults(config: AgentConfig, places: _Places) -> Iterator[Fault]:
    for name, model in config.models.items():
        if model.bundle is not None:
            try:
                _look_into(Path(model.bundle), None)
            except EdgeOpsError as error:
                yield places.fault(f"models.{name}.bundle", str(error))
    try:
        TrustStore.load(release=[Path(p) for p in config.trust.release])
    except EdgeOpsError as error:
        yield places.fault("trust.release", str(error))
    try:
        TrustStore.load(director=[Path(p) for p in config.trust.director])
    except EdgeOpsError as error:
        yield places.fault("trust.director", str(error))
    if config.fleet is not None:
        try:
            read_json(Path(config.fleet.credential), Credential)
            ca = None if config.fleet.ca is None else Path(config.fleet.ca)
            BrokerAddress.parse(config.fleet.mqtt, ca=ca)
        except EdgeOpsError as error:
            yield places.fault("fleet.credential", str(error))


def _distrusted(config: AgentConfig) -> Iterator[str]:
    """Yield which bundles on this disk the keys, each whole for itself, would refuse now."""
    try:
        trust = TrustStore.load(release=[Path(p) for p in config.trust.release])
    except EdgeOpsError:
        return  # a fault, told as such
    for name, model in config.models.items():
        if model.bundle is not None and config.trust.release:
            try:
                _look_into(Path(model.bundle), trust)
            except TrustError as error:
                yield f"models.{name}.bundle: the agent will refuse it: {error}"
            except EdgeOpsError:
                continue  # a fault, told as such


def _warnings(config: AgentConfig) -> Iterator[str]:
    yield from _distrusted(config)
    for name, source in config.sources.items():
        if not isinstance(source, CameraOptions) and not Path(source.path).exists():
            yield f"sources.{name}: {source.path} is not there now"
    unused = set(config.sources) - {entry.source for entry in config.pipelines.values()}
    for name in sorted(unused):
        yield f"sources.{name}: no pipeline uses it"
    for name, action in config.actions.items():
        if isinstance(action, CommandOptions) and shutil.which(action.argv[0]) is None:
            yield f"actions.{name}: there is no program {action.argv[0]} now"
    named = {action for rule in config.rules.values() for action in rule.do}
    for name in sorted(set(config.actions) - named):
        yield f"actions.{name}: no rule names it"
    if not config.pipelines:
        yield "pipelines: there is none, the agent will have nothing to do"
