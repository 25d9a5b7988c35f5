"""Every test of this folder runs against the built-in broker and against Mosquitto."""

from collections.abc import Iterator

import pytest

from fleet.broker.child import BrokerKind
from fleet.broker.mosquitto import find_mosquitto
from tests.integration.test_broker.clients import RunningBroker, running

KINDS = [
    pytest.param(BrokerKind.BUILTIN, id="builtin"),
    pytest.param(
        BrokerKind.MOSQUITTO,
        id="mosquitto",
        marks=[
            pytest.mark.mosquitto,
            pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed"),
        ],
    ),
]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> BrokerKind:
    found: BrokerKind = request.param
    return found


@pytest.fixture(scope="module")
def broker(kind: BrokerKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """One broker for a whole module: its tests use devices and topics of their own."""
    with running(kind, tmp_path_factory.mktemp(kind)) as started:
        yield started
