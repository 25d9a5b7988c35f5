"""The broker's account files, kept equal to the enrolled devices."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from fleet.broker.accounts import BrokerAccounts, write_accounts
from fleet.broker.passwords import hash_password
from fleet.db.engine import Database
from fleet.devices import enrolment


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


def _nothing() -> None:
    """Stand in until there is a broker to tell."""
