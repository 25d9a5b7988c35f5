"""Enrolment, assignments, doorbells and the accounts that follow from them."""

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select

from edgeops import codec
from edgeops.contracts.update import Assignment, DeviceReport, SlotReport, UpdateState
from edgeops.errors import (
    ContractError,
    StorageError,
    TransitionError,
    TrustError,
    UsageError,
)
from edgeops.trust import ASSIGNMENT_TYPE, Role, SigningKey, TrustStore
from fleet.broker.passwords import PasswordHash
from fleet.db.engine import Database
from fleet.db.schema import audit, bundle, device
from fleet.devices import assignments, doorbells, enrolment, listing
from fleet.devices.accounts import AccountsFile
from fleet.devices.assignments import Assigner
from fleet.devices.doorbells import Ring
from fleet.devices.enrolment import Enrolment
from fleet.devices.reports import apply_report
from tests.unit.fleet.database import SetClock, until

DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64


def enrol(connection: Connection, name: str = "d1", **labels: str) -> str:
    wanted = Enrolment(device=name, site="plant-7", labels=labels)
    return enrolment.enrol(
        connection, wanted, tenant="default", reserved="edgeops-server", now_s=1.0
    ).secret


def add_bundles(connection: Connection) -> None:
    for number, digest in enumerate((DIGEST, OTHER), 1):
        connection.execute(
            insert(bundle).values(
                digest=digest,
                name="belt",
                version=f"1.0.{number}",
                serial=number,
                task="anomaly",
                development=False,
                manifest=b"{}",
                keyid="k",
                size_bytes=1,
                pushed_s=0.0,
            )
        )


def test_only_a_hash_of_the_secret_is_stored(database: Database) -> None:
    secret = database.write_here(enrol)

    stored = database.write_here(lambda c: c.execute(select(device.c.password_hash)).scalar_one())
    assert secret not in stored
    assert PasswordHash.parse(stored).accepts(secret.encode())
    assert not PasswordHash.parse(stored).accepts(b"guess")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "a.b", "+", "d\n"])
def test_ids_that_are_no_topic_level_are_refused(database: Database, name: str) -> None:
    with pytest.raises(ContractError):
        database.write_here(lambda connection: enrol(connection, name))


def test_the_servers_own_name_and_a_taken_one_are_refused(database: Database) -> None:
    database.write_here(enrol)

    with pytest.raises(UsageError, match="own"):
        database.write_here(lambda connection: enrol(connection, "edgeops-server"))
    with pytest.raises(UsageError, match="enrolled already"):
        database.write_here(enrol)


def test_labels_are_bounded(database: Database) -> None:
    with pytest.raises(ContractError):
        database.write_here(lambda connection: enrol(connection, "d1", line="x" * 101))


def test_a_decommissioned_device_loses_its_account_and_may_come_back(database: Database) -> None:
    first = database.write_here(enrol)
    database.write_here(lambda connection: enrolment.decommission(connection, "d1", now_s=2.0))

    assert database.write_here(enrolment.accounts) == {}
    assert database.write_here(lambda c: enrolment.password_hash(c, "d1")) is None
    with pytest.raises(TransitionError):
        database.write_here(lambda connection: enrolment.decommission(connection, "d1", now_s=3.0))
    second = database.write_here(enrol)
    assert second != first
    assert set(database.write_here(enrolment.accounts)) == {"d1"}
    assert (
        database.write_here(lambda c: c.execute(select(func.count(audit.c.id))).scalar_one()) == 3
    )


def test_an_assignment_is_signed_numbered_and_rung_for(database: Database) -> None:
    director = SigningKey.generate()
    assigner = Assigner(director, SetClock())
    database.write_here(enrol)
    database.write_here(add_bundles)

    generations = [
        database.write_here(
            lambda c, d=digest: assigner.set_assignment(  # type: ignore[misc]
                c, device="d1", slot="main", bundle=d, rollout="ro-1"
            )
        )
        for digest in (DIGEST, OTHER, DIGEST)
    ]

    assert generations == [1, 2, 3]
    (envelope,) = database.write_here(lambda c: assignments.envelopes_of(c, "d1"))
    trust = TrustStore(director=[director.public])
    document = trust.open(Role.DIRECTOR, ASSIGNMENT_TYPE, envelope, what="assignment")
    found = codec.decode(document, Assignment, where="assignment")
    assert (found.device, found.slot, found.gen, found.bundle) == ("d1", "main", 3, DIGEST)
    with pytest.raises(TrustError):
        TrustStore(director=[SigningKey.generate().public]).open(
            Role.DIRECTOR, ASSIGNMENT_TYPE, envelope, what="assignment"
        )
    assert database.write_here(lambda c: doorbells.waiting(c, 10)) == (Ring("d1", 3),)
    view = database.write_here(lambda c: listing.shown(c, "d1"))
    assert view is not None
    assert (view.slots[0].assigned, view.slots[0].gen, view.slots[0].in_sync) == (DIGEST, 3, False)


def test_a_failed_transaction_leaves_no_doorbell(database: Database) -> None:
    assigner = Assigner(SigningKey.generate(), SetClock())
    database.write_here(enrol)
    database.write_here(add_bundles)

    def stumble(connection: Connection) -> None:
        assigner.set_assignment(connection, device="d1", slot="main", bundle=DIGEST)
        assigner.set_assignment(connection, device="ghost", slot="main", bundle=DIGEST)

    with pytest.raises(UsageError, match="ghost"):
        database.write_here(stumble)
    assert database.write_here(lambda c: doorbells.waiting(c, 10)) == ()
    assert database.write_here(lambda c: assignments.envelopes_of(c, "d1")) == ()


def test_unknown_bundles_and_decommissioned_devices_get_no_assignment(database: Database) -> None:
    assigner = Assigner(SigningKey.generate(), SetClock())
    database.write_here(enrol)
    with pytest.raises(UsageError, match="no bundle"):
        database.write_here(
            lambda c: assigner.set_assignment(c, device="d1", slot="main", bundle=DIGEST)
        )
    database.write_here(add_bundles)
    database.write_here(lambda connection: enrolment.decommission(connection, "d1", now_s=2.0))
    with pytest.raises(TransitionError, match="decommissioned"):
        database.write_here(
            lambda c: assigner.set_assignment(c, device="d1", slot="main", bundle=DIGEST)
        )


def test_a_bell_that_was_overtaken_still_waits(database: Database) -> None:
    assigner = Assigner(SigningKey.generate(), SetClock())
    database.write_here(enrol)
    database.write_here(add_bundles)

    def assign(connection: Connection) -> int:
        return assigner.set_assignment(connection, device="d1", slot="main", bundle=DIGEST)

    database.write_here(assign)
    rung = database.write_here(lambda c: doorbells.waiting(c, 10))
    database.write_here(assign)
    database.write_here(lambda c: doorbells.taken(c, rung))
    assert database.write_here(lambda c: doorbells.waiting(c, 10)) == (Ring("d1", 2),)


def test_accounts_of_many_changes_share_one_write(database: Database, tmp_path: Path) -> None:
    reloads: list[int] = []

    async def many() -> None:
        accounts = AccountsFile(
            database=database,
            folder=tmp_path / "broker",
            tenant="default",
            username="edgeops-server",
            password="x" * 20,
        )
        accounts.on_change(lambda: reloads.append(1))
        for number in range(20):
            await database.write(lambda c, n=number: enrol(c, f"d{n}"))  # type: ignore[misc]
        await asyncio.gather(*(accounts.refresh() for _ in range(20)))

    asyncio.run(many())

    names = [line.split(":")[0] for line in (tmp_path / "broker/passwd").read_text().splitlines()]
    assert sorted(names) == sorted(["edgeops-server", *(f"d{n}" for n in range(20))])
    assert 1 <= len(reloads) <= 3


def test_accounts_that_could_not_be_written_are_written_later(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A device that was decommissioned while the disk was full must not stay admitted."""
    database.write_here(lambda c: enrol(c, "d1"))
    folder = tmp_path / "broker"
    (folder / "passwd").mkdir(parents=True)  # no file can take its place

    async def scene() -> None:
        accounts = AccountsFile(
            database=database,
            folder=folder,
            tenant="default",
            username="edgeops-server",
            password="x" * 20,
        )
        with pytest.raises(StorageError):
            await accounts.refresh()
        task = asyncio.create_task(accounts.keep(every_s=0.02))
        await until(lambda: "accounts" in caplog.text)
        (folder / "passwd").rmdir()
        await until((folder / "passwd").is_file)
        task.cancel()

    asyncio.run(scene())
    assert "d1:" in (folder / "passwd").read_text()


def test_a_new_generation_is_above_what_the_device_has_seen(database: Database) -> None:
    """After the database was restored from a backup, devices must still obey."""
    assigner = Assigner(SigningKey.generate(), SetClock())
    database.write_here(enrol)
    database.write_here(add_bundles)
    said = DeviceReport(
        device="d1",
        boot="b1",
        report_seq=1,
        slots=(SlotReport(slot="main", gen=418, state=UpdateState.COMMITTED),),
    )
    database.write_here(lambda c: apply_report(c, said, b"{}", now_s=1.0, keep=5))

    def assign(connection: Connection) -> int:
        return assigner.set_assignment(connection, device="d1", slot="main", bundle=DIGEST)

    assert database.write_here(assign) == 419
    assert database.write_here(assign) == 420


def test_listing_pages_and_filters(database: Database) -> None:
    for number in range(5):
        database.write_here(lambda c, n=number: enrol(c, f"d{n}"))  # type: ignore[misc]
    database.write_here(lambda c: enrolment.decommission(c, "d3", now_s=2.0))

    page = database.write_here(lambda c: listing.listed(c, limit=2))
    rest = database.write_here(lambda c: listing.listed(c, after=page[-1].id))
    assert [view.id for view in (*page, *rest)] == ["d0", "d1", "d2", "d4"]
    assert database.write_here(lambda c: listing.listed(c, site="elsewhere")) == ()
    assert json.loads(codec.canonical(page[0]))["labels"] == {}
