"""Builds the agent from its configuration, runs it, and ends it; the only composition root.

The device comes first: pipelines and local alerts start without a network and wait for nothing.
"""

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from agent.actions import Actions
from agent.api import LocalApi
from agent.checking import refuse_unsuitable_rules
from agent.config import AgentConfig, listen_address, load_config
from agent.events import AgentEvents, Recorder
from agent.host import Host
from agent.local_models import open_local
from agent.lockfile import locked
from agent.notify import Notifier
from agent.outbox.outbox import Outbox
from agent.pipeline import Pipeline
from agent.pipeline_port import PipelineOptions
from agent.rules.rulebook import STATE_KEY, RuleBook
from agent.sources.options import is_finite
from agent.status import AgentStatus, RunSummary, summary_of
from agent.supervision import Supervision
from edgeops import __version__
from edgeops.clock import Clock, SystemClock, trust_of
from edgeops.errors import EdgeOpsError, SourceError, UsageError
from edgeops.trust import TrustStore

if TYPE_CHECKING:
    from agent.fleet_side import FleetSide

logger = logging.getLogger(__name__)

STOP_PIPELINES_S: Final = 3.5
STOP_UPDATES_S: Final = 1.0
FLUSH_OUTBOX_S: Final = 0.5
HAND_OVER_S: Final = 2.0
"""How long after the signal a connected device still gives what it holds to its fleet."""
FLUSH_ACTIONS_S: Final = 30.0
POLL_S: Final = 0.2
RESTART_SECTIONS: Final = (
    "device",
    "state_dir",
    "fleet",
    "trust",
    "api",
    "sources",
    "models",
    "pipelines",
    "outbox",
    "updates",
)
"""Sections that a running agent cannot take anew."""


class Agent:
    """A whole agent on one state directory, which the caller has locked."""

    def __init__(self, config: AgentConfig, clock: Clock, variables: Mapping[str, str]) -> None:
        self._config = config
        self._clock = clock
        self._variables = variables
        self._boot = secrets.token_hex(8)
        self._began = clock.monotonic()
        self._notices: list[str] = []
        self._stopping = threading.Event()
        self._reload = threading.Event()
        self._supervision = Supervision(clock)
        self._outbox = Outbox(
            config.state_dir / "outbox.sqlite",
            device=config.device.id,
            boot=self._boot,
            limits=config.outbox,
            clock=clock,
            guarded=self._supervision.guarded,
        )
        self._notices.extend(self._outbox.notices)
        self._actions = Actions(clock, self._supervision.guarded)
        recorder = Recorder(self._outbox, self._actions)
        self._rulebook = RuleBook(
            config.rules.values(),
            device=config.device.id,
            boot=self._boot,
            clock=clock,
            on_decision=recorder.decided,
            stored=self._outbox.load_state(STATE_KEY),
        )
        events = AgentEvents(self._rulebook, recorder)
        self._host = Host(
            [Pipeline(options, events, clock) for options in pipeline_options(config)],
            clock,
            self._supervision.guarded,
        )
        self._fleet = self._fleet_side()
        self._api = LocalApi(
            listen_address(config.api.listen),
            state_dir=config.state_dir,
            status=self.status,
            alerts=self._outbox.recent_alerts,
        )

    def _fleet_side(self) -> "FleetSide | None":
        if self._config.fleet is None:
            return None
        from agent.fleet_side import FleetSide  # noqa: PLC0415  # local agents need none of it

        return FleetSide(
            self._config,
            self._config.fleet,
            boot=self._boot,
            outbox=self._outbox,
            host=self._host,
            clock=self._clock,
            guarded=self._supervision.guarded,
        )

    def run(self, *, once: bool) -> RunSummary:
        """Run until a signal, or with ``once`` until every source has ended.

        Raises:
            SourceError: With ``once``: a source cannot be read.
            EdgeOpsError: A bundle of the configuration cannot run here.
        """
        notifier = Notifier()
        for notice in self._notices:
            logger.warning("%s", notice)
        with self._signals():
            try:
                self._start()
                self._load_local_models()
                notifier.send("READY=1")
                logger.info("device %s: boot %s runs", self._config.device.id, self._boot)
                self._wait(notifier, once=once)
            finally:
                notifier.send("STOPPING=1")
                self._stop(once=once)
        return summary_of(self.status())

    def status(self) -> AgentStatus:
        """Return the agent as it stands."""
        wall = self._clock.wall()
        return AgentStatus(
            device=self._config.device.id,
            site=self._config.device.site,
            boot=self._boot,
            agent=__version__,
            uptime_s=self._clock.monotonic() - self._began,
            wall=wall,
            clock=trust_of(wall),
            pipelines=self._host.status(),
            rules=self._rulebook.status(),
            actions=self._actions.status(),
            slots=() if self._fleet is None else self._fleet.slots(),
            outbox=self._outbox.counters(),
            link=None if self._fleet is None else self._fleet.link_state(),
            notices=tuple(self._notices),
        )

    def _start(self) -> None:
        self._outbox.start()
        self._actions.change(self._config.actions)
        self._rulebook.start()
        self._host.start()
        self._api.start()
        if self._fleet is not None:
            self._fleet.start()

    def _load_local_models(self) -> None:
        """Put the bundles of the configuration in place; one that cannot run is final."""
        trust = None
        if self._config.trust.release:
            trust = TrustStore.load(release=[Path(p) for p in self._config.trust.release])
        for name, model in self._config.models.items():
            if model.bundle is None:
                continue
            workdir = self._config.state_dir / "local"
            try:
                bundle = open_local(Path(model.bundle), workdir, trust)
                self._host.activate(self._config.slot_of(name), bundle.folder, "")
            except EdgeOpsError as error:
                if self._stopping.is_set():
                    return
                if self._fleet is None:
                    raise
                # The other slots of a fleet's device are worth going on for.
                self._notices.append(f"model {name}: {error}")
                logger.error("model %s: %s", name, error)  # noqa: TRY400

    def _wait(self, notifier: Notifier, *, once: bool) -> None:
        pulse_s = POLL_S if notifier.watchdog_s is None else min(POLL_S, notifier.watchdog_s / 3)
        while not self._stopping.wait(pulse_s):
            notifier.send("WATCHDOG=1")
            if self._reload.is_set():
                self._reload.clear()
                self._reread()
            if once:
                self._refuse_lost_sources()
                if self._host.is_finished():
                    return

    def _refuse_lost_sources(self) -> None:
        for pipeline in self._host.status():
            if pipeline.state == "lost":
                raise SourceError(f"pipeline {pipeline.name}: {pipeline.detail}")

    def _reread(self) -> None:
        """Take new rules and actions; say what else has changed and needs a restart."""
        try:
            new = load_config(self._config.file, self._variables)
        except EdgeOpsError as error:
            logger.error("configuration kept as it was: %s", error)  # noqa: TRY400
            return
        old = self._config
        for section in RESTART_SECTIONS:
            if getattr(new, section) != getattr(old, section):
                logger.warning("section %s has changed: it needs a restart", section)
        self._actions.change(new.actions)
        self._rulebook.change(new.rules.values())
        for pipeline in self._host.status():
            if pipeline.model is not None:
                self._rulebook.suits(pipeline.name, pipeline.model.task, pipeline.model.labels)
        self._config = replace(old, rules=new.rules, actions=new.actions)
        logger.info("rules and actions were read anew")

    def _stop(self, *, once: bool) -> None:
        """End every part within five seconds; the outbox last, so that nothing is missed."""
        self._stopping.set()
        hand_over_until = self._clock.monotonic() + HAND_OVER_S
        self._supervision.stop()
        updates = threading.Thread(target=self._stop_updates, name="stop-updates", daemon=True)
        updates.start()
        self._host.stop(STOP_PIPELINES_S)
        self._outbox.save_state(STATE_KEY, self._rulebook.dump())
        if once:
            self._actions.flush(FLUSH_ACTIONS_S)
        self._actions.stop()
        if self._fleet is not None:
            self._outbox.flush(FLUSH_OUTBOX_S)  # the last windows, so that they can go home now
            self._fleet.hand_over(hand_over_until)
            updates.join(STOP_UPDATES_S)
            self._fleet.stop_link()
        self._api.stop()
        self._outbox.close()

    def _stop_updates(self) -> None:
        if self._fleet is not None:
            self._fleet.stop_updates()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the agent and SIGHUP reread its configuration."""

        def end(number: int, _frame: FrameType | None) -> None:
            logger.info("%s: stopping", signal.Signals(number).name)
            self._stopping.set()
            self._host.interrupt()  # a model that is being loaded must not hold up the end

        def reread(_number: int, _frame: FrameType | None) -> None:
            self._reload.set()

        handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reread}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def pipeline_options(config: AgentConfig) -> tuple[PipelineOptions, ...]:
    """Return what each pipeline of the configuration is made of."""
    options = []
    for name, entry in config.pipelines.items():
        model = config.models[entry.model]
        options.append(
            PipelineOptions(
                name=name,
                source=config.sources[entry.source],
                slot=config.slot_of(entry.model),
                interval_s=float(entry.interval),
                window_s=float(entry.window),
                threads=model.threads,
                runtime=model.runtime,
                precision=model.precision,
            )
        )
    return tuple(options)


def run_agent(path: Path, *, once: bool) -> RunSummary:
    """Run the agent of a configuration file.

    Raises:
        UsageError: ``once`` with a source that never ends.
        EdgeOpsError: Configuration, state directory, bundle or source; see ``Agent.run``.
    """
    config = load_config(path, os.environ)
    refuse_unsuitable_rules(config)
    if once:
        endless = [name for name, options in config.sources.items() if not is_finite(options)]
        if endless:
            raise UsageError(f"--once needs sources that end; {endless[0]!r} does not")
    with locked(config.state_dir):
        return Agent(config, SystemClock(), os.environ).run(once=once)
