"""Looks at every header of a foreign tar before ``tarfile`` may act on it.

``tarfile`` carries out what extended headers ask: it reads a name of gigabytes into memory, takes
negative lengths and parses sparse maps. Our own bundles hold plain USTAR members and nothing else,
so anything else is refused here, where a header is 512 bytes and no more.
"""

import tarfile
from typing import IO, Final

from edgeops.errors import ContractError

_PLAIN: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})


def refuse_foreign_headers(file: IO[bytes], name: str, *, most: int) -> None:
    """Walk over the headers of an open tar and go back to its start.

    Args:
        file: Can be sought.
        name: Of the file, for the errors.
        most: Largest number of members.

    Raises:
        ContractError: A member is not a plain file, or there are too many.
        tarfile.TarError: A header is damaged; the end is not checked.
    """
    count = 0
    while block := file.read(tarfile.BLOCKSIZE):
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # not in the stubs
            break
        if info.type not in _PLAIN or info.size < 0:
            raise ContractError(name, f"holds {info.name[:100]!r}, which is not a plain file")
        count += 1
        if count > most:
            raise ContractError(name, f"holds more than {most} files")
        blocks = -(-info.size // tarfile.BLOCKSIZE)
        file.seek(blocks * tarfile.BLOCKSIZE, 1)
    file.seek(0)
