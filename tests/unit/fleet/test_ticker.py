"""The rollouts' turns: one rollout that cannot be ticked holds up no other."""

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from fleet.db.engine import FILE, Database
from fleet.db.rollout_tables import rollout
from fleet.db.schema import assignment
from fleet.devices.ringer import Ringer
from fleet.rollouts.spec import RolloutSpec, Selector
from fleet.ticker import RolloutTicker
from tests.unit.fleet.database import until
from tests.unit.fleet.rollouts.simulated import NEW, Fleet

DEADLINE_S = 15.0


def test_a_policy_that_another_release_wrote_holds_up_no_other_rollout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet(tmp_path / FILE)
    fleet.add(2)
    with fleet.transaction() as connection:
        made = [
            fleet.service.create(
                connection, RolloutSpec(bundle=NEW, selector=Selector(devices=(name,)))
            ).rollout.id
            for name in fleet.devices
        ]
        connection.execute(
            update(rollout)
            .where(rollout.c.id == made[0])
            .values(created_s=0.0, spec=b'{"schema":9}')
        )

    def assigned() -> list[str]:
        with fleet.transaction() as connection:
            return list(connection.execute(select(assignment.c.device)).scalars())

    async def scene(database: Database) -> None:
        ticker = RolloutTicker(
            database=database,
            engine=fleet.rollouts,
            ringer=Ringer(database, "default"),
            every_s=0.05,
        )
        task = asyncio.create_task(ticker.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await until(lambda: task.done() or len(assigned()) > 0)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    with contextlib.closing(Database(tmp_path / FILE)) as database, caplog.at_level(logging.ERROR):
        asyncio.run(scene(database))

    assert assigned() == [sorted(fleet.devices)[1]]
    assert made[0] in caplog.text
    with fleet.transaction() as connection:
        count = select(func.count()).select_from(rollout).where(rollout.c.state == "running")
        assert connection.execute(count).scalar_one() == 2
    fleet.close()
