"""Passwords in Mosquitto's own file format, so that both brokers read one file. Pure.

A line is ``user:$7$ITERATIONS$SALT$HASH``: PBKDF2-HMAC-SHA512 with a 64 byte key, both parts in
base64, as ``mosquitto_passwd`` writes it.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgeops.errors import ContractError

KEY_BYTES: Final = 64
SALT_BYTES: Final = 12
ITERATIONS: Final = 101
"""Mosquitto's default. Our secrets are 256 random bits, so stretching them adds nothing."""
MOST_ITERATIONS: Final = 100_000
"""About 50 ms of CPU: a check runs on the broker's loop, more would stall every client."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """One stored password."""

    iterations: int
    salt: bytes = field(repr=False)
    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str, place: str = "password hash") -> "PasswordHash":
        """Read ``$7$ITERATIONS$SALT$HASH``.

        Raises:
            ContractError: Another scheme, bad base64, wrong lengths or too many iterations.
        """
        parts = text.split("$")
        if len(parts) != 5 or parts[0] or parts[1] != "7":  # noqa: PLR2004 "", "7", n, salt, key
            raise ContractError(place, "expected $7$ITERATIONS$SALT$HASH (PBKDF2-SHA512)")
        if not (parts[2].isascii() and parts[2].isdigit() and len(parts[2]) <= len("1000000")):
            raise ContractError(place, "the number of iterations is no number")
        iterations = int(parts[2])
        if not 1 <= iterations <= MOST_ITERATIONS:
            raise ContractError(place, f"{iterations} iterations, must be 1 to {MOST_ITERATIONS}")
        try:
            salt = base64.b64decode(parts[3], validate=True)
            key = base64.b64decode(parts[4], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ContractError(place, f"bad base64: {error}") from error
        if not salt or len(key) != KEY_BYTES:
            raise ContractError(place, f"the key has {len(key)} bytes, must be {KEY_BYTES}")
        return cls(iterations, salt, key)

    def accepts(self, password: bytes) -> bool:
        """Return whether ``password`` is the right one, in time that tells nothing."""
        found = hashlib.pbkdf2_hmac("sha512", password, self.salt, self.iterations, KEY_BYTES)
        return hmac.compare_digest(found, self.key)


def hash_password(password: str, *, iterations: int = ITERATIONS) -> str:
    """Return ``$7$ITERATIONS$SALT$HASH`` with a fresh salt, for the part after ``user:``."""
    salt = secrets.token_bytes(SALT_BYTES)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, KEY_BYTES)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


_NOBODY: Final = PasswordHash.parse(hash_password(secrets.token_hex(16)))
"""Checked for unknown users, so that the answer takes as long as for known ones."""


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """User names with their stored passwords."""

    users: Mapping[str, PasswordHash]

    def accepts(self, username: str, password: bytes) -> bool:
        """Return whether this user exists and has this password."""
        stored = self.users.get(username)
        if stored is None:
            _NOBODY.accepts(password)
            return False
        return stored.accepts(password)


def parse_passwords(text: str, source: str) -> PasswordFile:
    """Read a password file; empty lines and lines with ``#`` in front say nothing.

    Raises:
        ContractError: A line is damaged or names a user again; the place is ``source:line``.
    """
    users: dict[str, PasswordHash] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{source}:{number}"
        username, colon, encoded = line.partition(":")
        if not colon or not username:
            raise ContractError(place, "expected user:hash")
        if username in users:
            raise ContractError(place, f"user {username!r} stands here twice")
        users[username] = PasswordHash.parse(encoded.strip(), place)
    return PasswordFile(users)
