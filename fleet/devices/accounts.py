"""The broker's account files, kept equal to the enrolled devices."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgeops.errors import StorageError
from fleet.broker.accounts import BrokerAccounts, write_accounts
from fleet.broker.passwords import hash_password
from fleet.db.engine import Database
from fleet.devices import enrolment

logger = logging.getLogger(__name__)

RETRY_S: Final = 10.0


class AccountsFile:
    """Writes who may connect, and has the broker read it.

    Many enrolments at once share one write: a file of all devices costs time in their number.

    Args:
        folder: For the two files.
        username, password: The server's own account.
    """

    def __init__(
        self, *, database: Database, folder: Path, tenant: str, username: str, password: str
    ) -> None:
        self._database = database
        self._folder = folder
        self._tenant = tenant
        self._username = username
        self._hash = hash_password(password)
        self._reload: Callable[[], None] = _nothing
        self._turn = asyncio.Lock()
        self._asked = 0
        self._written = 0

    def on_change(self, reload: Callable[[], None]) -> None:
        """Call ``reload`` after every write from now on."""
        self._reload = reload

    async def refresh(self) -> BrokerAccounts:
        """Write the files as the database has it now; return where they are.

        Raises:
            StorageError: They cannot be written.
        """
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._written < mine:
                covered = self._asked
                users = await self._database.read(enrolment.accounts)
                users[self._username] = self._hash
                await asyncio.to_thread(
                    write_accounts, self._folder, users, self._tenant, self._username
                )
                self._written = covered
                self._reload()
        return BrokerAccounts(self._folder / "passwd", self._folder / "acl")

    async def keep(self, *, every_s: float = RETRY_S) -> None:
        """Write again, until cancelled, what could not be written.

        Else a device that was decommissioned while the disk was full would stay admitted.
        """
        while True:
            await asyncio.sleep(every_s)
            if self._written < self._asked and not self._turn.locked():
                try:
                    await self.refresh()
                except StorageError as error:
                    logger.error("the broker's accounts are old: %s", error)  # noqa: TRY400


def _nothing() -> None:
    """Stand in until there is a broker to tell."""
