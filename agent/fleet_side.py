"""The agent's side of a fleet: updates and the line to the broker. All of it may fail for ever."""

import platform
import threading
from pathlib import Path
from typing import Final

from agent.broker_address import BrokerAddress
from agent.config import AgentConfig, FleetOptions
from agent.host import Host
from agent.link import Link, LinkState
from agent.outbox.outbox import Outbox
from agent.server import DeviceApi
from agent.slots import slot_rules
from agent.supervision import Guard
from agent.update.runner import Updater
from edgeops import __version__
from edgeops.clock import Clock
from edgeops.contracts.credential import load_credential
from edgeops.contracts.update import Connection, SlotReport
from edgeops.errors import ContractError
from edgeops.inference.runtimes.loading import available_runtimes
from edgeops.trust import TrustStore

HAND_OVER_LOOK_S: Final = 0.05


class FleetSide:
    """Updater and link of one device.

    Raises:
        StorageError, ContractError: Credential or keys cannot be read, or name another device.
    """

    def __init__(
        self,
        config: AgentConfig,
        fleet: FleetOptions,
        *,
        boot: str,
        outbox: Outbox,
        host: Host,
        clock: Clock,
        guarded: Guard,
    ) -> None:
        self._device = config.device.id
        self._boot = boot
        self._outbox = outbox
        self._clock = clock
        credential = load_credential(Path(fleet.credential))
        if (credential.device, credential.tenant) != (config.device.id, fleet.tenant):
            raise ContractError(
                fleet.credential,
                f"is for {credential.tenant}/{credential.device}, "
                f"the configuration says {fleet.tenant}/{config.device.id}",
            )
        ca = None if fleet.ca is None else Path(fleet.ca)
        trust = TrustStore.load(
            release=[Path(path) for path in config.trust.release],
            director=[Path(path) for path in config.trust.director],
        )
        self._link = Link(
            address=BrokerAddress.parse(fleet.mqtt, ca=ca),
            credential=credential,
            outbox=outbox,
            connection=self._connection,
            on_wake=self._wake,
            clock=clock,
            guarded=guarded,
        )
        self._updater = Updater(
            state_dir=config.state_dir,
            device=config.device.id,
            boot=boot,
            slots=slot_rules(config),
            trust=trust,
            server=DeviceApi(fleet.url, credential, ca=ca),
            host=host,
            rules=config.updates,
            clock=clock,
            on_report=self._link.report,
            reconcile_s=float(fleet.reconcile),
            guarded=guarded,
        )

    def start(self) -> None:
        """Put the slots' bundles in place, then look for news."""
        self._updater.start()
        self._link.start()

    def stop_updates(self) -> None:
        """End the updater; an update in progress goes on after the next start."""
        self._updater.stop()

    def stop_link(self) -> None:
        """Say goodbye to the broker."""
        self._link.stop()

    def hand_over(self, until: float) -> None:
        """Wait until the fleet has taken what the outbox holds, while there is a line to it.

        Args:
            until: Monotonic seconds at which the waiting ends in any case.
        """
        pause = threading.Event()
        while self._clock.monotonic() < until and self._link.state().connected:
            held = self._outbox.counters()
            if not held.alerts_held and not held.windows_held:
                return
            pause.wait(HAND_OVER_LOOK_S)

    def slots(self) -> tuple[SlotReport, ...]:
        """Return every slot as it stands."""
        return self._updater.slots()

    def link_state(self) -> LinkState:
        """Return how the line to the broker does."""
        return self._link.state()

    def _wake(self) -> None:
        self._updater.wake()

    def _connection(self) -> Connection:
        return Connection(
            device=self._device,
            online=True,
            boot=self._boot,
            agent=__version__,
            arch=platform.machine(),
            runtimes=available_runtimes(),
            running={
                slot.slot: slot.running
                for slot in self._updater.slots()
                if slot.running is not None
            },
        )
