"""Figures for Prometheus. No label holds a device, stream or model: their number is bounded."""

from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleet.telemetry.summary import Counts


def exposition(counts: Counts, live: Mapping[str, Counter[str]], *, connected: bool) -> bytes:
    """Return the text that Prometheus scrapes.

    Args:
        counts: What the database says.
        live: Counters of this process: part, then name.
        connected: Whether the session with the broker is up.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(counts, live, connected=connected))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(
        self, counts: Counts, live: Mapping[str, Counter[str]], *, connected: bool
    ) -> None:
        self._counts = counts
        self._live = live
        self._connected = connected

    def collect(self) -> Iterable[Metric]:
        counts = self._counts
        for name, text, value in (
            ("devices", "Devices enrolled.", counts.devices),
            ("devices_online", "Devices connected to the broker.", counts.online),
            ("bundles", "Bundles in the registry.", counts.bundles),
            ("dead_letters", "Messages set aside.", counts.dead_letters),
            ("windows_shed", "Telemetry windows that devices gave up.", counts.shed),
            ("broker_connected", "1 while the session is up.", int(self._connected)),
        ):
            yield GaugeMetricFamily(f"edgeops_fleet_{name}", text, value=value)
        events = CounterMetricFamily(
            "edgeops_fleet_events",
            "What was stored, repeated and refused since the database was made.",
            labels=["event"],
        )
        for name, value in sorted(counts.counters.items()):
            events.add_metric([name], value)
        yield events
        process = CounterMetricFamily(
            "edgeops_fleet_process",
            "What this process did since its start.",
            labels=["part", "event"],
        )
        for part, counter in sorted(self._live.items()):
            for name, value in sorted(counter.items()):
                process.add_metric([part, name], value)
        yield process
