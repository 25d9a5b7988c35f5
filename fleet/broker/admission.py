"""Who may connect, and as whom: the password and access files as one decision."""

from dataclasses import dataclass
from pathlib import Path

from edgeops.errors import StorageError
from fleet.broker.acl import UNRESTRICTED, AccessFile, Permissions, parse_acl
from fleet.broker.packets import Connect, ConnectCode
from fleet.broker.passwords import PasswordFile, PasswordHash, parse_passwords


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Both files as they were read together.

    Attributes:
        access: None: everyone admitted may do everything.
        allow_anonymous: Clients without a user name may connect.
    """

    passwords: PasswordFile
    access: AccessFile | None
    allow_anonymous: bool = False

    @classmethod
    def read(cls, passwd: Path | None, acl: Path | None, *, allow_anonymous: bool) -> "Admission":
        """Read the files.

        Raises:
            StorageError: A file cannot be read.
            ContractError: A line is not understood.
        """
        passwords = PasswordFile({})
        if passwd is not None:
            passwords = parse_passwords(_text_of(passwd), str(passwd))
        access = parse_acl(_text_of(acl), str(acl)) if acl is not None else None
        return cls(passwords=passwords, access=access, allow_anonymous=allow_anonymous)

    def judge(self, connect: Connect) -> ConnectCode:
        """Return whether the client may come in.

        A client id that is the name of another user is refused: the thief of one device's
        password could else push every other device off the broker by taking its id.
        """
        if connect.username is None:
            if not self.allow_anonymous:
                return ConnectCode.NOT_AUTHORIZED
        elif not self.passwords.accepts(connect.username, connect.password or b""):
            return ConnectCode.BAD_USERNAME_OR_PASSWORD
        if not connect.client_id and not connect.clean_session:
            return ConnectCode.IDENTIFIER_REJECTED  # [3.1.3-8]
        if connect.client_id != connect.username and connect.client_id in self.passwords.users:
            return ConnectCode.IDENTIFIER_REJECTED
        return ConnectCode.ACCEPTED

    def permissions(self, username: str | None, client_id: str) -> Permissions:
        """Return what an admitted client may read and write."""
        if self.access is None:
            return UNRESTRICTED
        return self.access.permissions(username, client_id)

    def stored(self, username: str | None) -> PasswordHash | None:
        """Return the user's stored password, to see whether it changed."""
        return None if username is None else self.passwords.users.get(username)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error
