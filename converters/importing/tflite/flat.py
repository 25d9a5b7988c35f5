"""FlatBuffers read with every offset checked: hostile bytes end in one sentence.

Generated readers trust the file: a damaged offset makes them read elsewhere, run for hours
or, in C++, crash the process. Here each access stays inside the file, and a budget bounds
how often a small file may point at the same bytes.

Source: https://flatbuffers.dev/internals (tables, vtables, vectors, strings).
"""

import struct
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from converters.arrays import Array
from edgeops.errors import ConversionError

Scalar: TypeAlias = Literal["bool", "int8", "uint8", "int32", "uint32", "uint64", "float32"]

_FORMATS: Final[dict[Scalar, struct.Struct]] = {
    "bool": struct.Struct("<?"),
    "int8": struct.Struct("<b"),
    "uint8": struct.Struct("<B"),
    "int32": struct.Struct("<i"),
    "uint32": struct.Struct("<I"),
    "uint64": struct.Struct("<Q"),
    "float32": struct.Struct("<f"),
}
_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_I32: Final = struct.Struct("<i")
_IDENTIFIER_AT: Final = 4
_SMALLEST_FILE: Final = 16
_SMALLEST_VTABLE: Final = 4
_MAX_TEXT: Final = 4096
"""Longer names are cut: they are for people only."""


@dataclass(slots=True)
class FlatFile:
    """The bytes, and how much of the reading budget is left.

    Attributes:
        data: The whole file.
        title: What to call it in messages.
        budget: Tables and vector elements that may still be read.
    """

    data: bytes
    title: str
    budget: int = field(init=False)

    def __post_init__(self) -> None:
        # An honest file holds each table and each small vector once.
        self.budget = 3 * len(self.data) + 1024

    def damaged(self, what: str) -> ConversionError:
        """Return the error that says where the file is broken."""
        return ConversionError(f"{self.title}: not a TFLite model, or damaged ({what})")

    def spend(self, amount: int) -> None:
        """Count ``amount`` reads; raises ``ConversionError`` where the budget is used up."""
        self.budget -= amount
        if self.budget < 0:
            raise self.damaged("it repeats its own parts endlessly")

    def unpack(self, form: struct.Struct, at: int) -> int | float | bool:
        """Return the number at byte ``at``."""
        if at < 0 or at + form.size > len(self.data):
            raise self.damaged(f"byte {at} lies outside")
        number: int | float | bool = form.unpack_from(self.data, at)[0]
        return number

    def root(self, identifier: bytes) -> "Table":
        """Return the outermost table; raises ``ConversionError``."""
        place = slice(_IDENTIFIER_AT, _IDENTIFIER_AT + len(identifier))
        if len(self.data) < _SMALLEST_FILE or self.data[place] != identifier:
            raise self.damaged("its first bytes are not a model's")
        return self.table_at(int(self.unpack(_U32, 0)))

    def table_at(self, at: int) -> "Table":
        """Return the table that starts at byte ``at``; raises ``ConversionError``."""
        self.spend(1)
        vtable = at - int(self.unpack(_I32, at))
        size = int(self.unpack(_U16, vtable))
        inline = int(self.unpack(_U16, vtable + 2))
        if size < _SMALLEST_VTABLE or size % 2 or vtable + size > len(self.data):
            raise self.damaged(f"table at byte {at}")
        if inline < _U32.size or at + inline > len(self.data):
            raise self.damaged(f"table at byte {at}")
        return Table(self, at, vtable, size, inline)


@dataclass(frozen=True, slots=True)
class Table:
    """One table; fields are counted as the schema does, from 0."""

    file: FlatFile
    at: int
    vtable: int
    vtable_size: int
    inline_size: int

    def _field(self, slot: int, size: int) -> int:
        """Return where field ``slot`` of ``size`` bytes lies, or 0 where it is left out."""
        entry = _SMALLEST_VTABLE + 2 * slot
        if entry + 2 > self.vtable_size:
            return 0
        offset = int(self.file.unpack(_U16, self.vtable + entry))
        if offset == 0:
            return 0
        if offset + size > self.inline_size:
            raise self.file.damaged(f"field {slot} of the table at byte {self.at}")
        return self.at + offset

    def number(self, slot: int, kind: Scalar, default: float | bool = 0) -> int | float | bool:
        """Return a number, or ``default`` where the file leaves it out."""
        form = _FORMATS[kind]
        at = self._field(slot, form.size)
        return self.file.unpack(form, at) if at else default

    def whole(self, slot: int, kind: Scalar, default: int = 0) -> int:
        """Return a whole number, or ``default`` where the file leaves it out."""
        return int(self.number(slot, kind, default))

    def _target(self, slot: int) -> int:
        at = self._field(slot, _U32.size)
        return at + int(self.file.unpack(_U32, at)) if at else 0

    def table(self, slot: int) -> "Table | None":
        """Return a table below this one, or ``None`` where it is left out."""
        at = self._target(slot)
        return self.file.table_at(at) if at else None

    def _vector(self, slot: int, item_size: int) -> tuple[int, int] | None:
        """Return start and length of a vector whose items all lie inside the file."""
        at = self._target(slot)
        if not at:
            return None
        length = int(self.file.unpack(_U32, at))
        start = at + _U32.size
        if start + length * item_size > len(self.file.data):
            raise self.file.damaged(f"vector at byte {at} is longer than the file")
        return start, length

    def tables(self, slot: int) -> list["Table"]:
        """Return a vector of tables."""
        found = self._vector(slot, _U32.size)
        if found is None:
            return []
        start, length = found
        self.file.spend(length)
        places = range(start, start + length * _U32.size, _U32.size)
        return [self.file.table_at(at + int(self.file.unpack(_U32, at))) for at in places]

    def numbers(self, slot: int, dtype: npt.DTypeLike) -> Array | None:
        """Return a short vector of numbers (a shape, scales), or ``None`` if it is left out."""
        kind = np.dtype(dtype)
        found = self._vector(slot, kind.itemsize)
        if found is None:
            return None
        start, length = found
        self.file.spend(length)
        return np.frombuffer(self.file.data, kind, length, start)

    def place(self, slot: int) -> int:
        """Return where a vector lies in the file, 0 where it is left out."""
        return self._target(slot)

    def block(self, slot: int) -> memoryview | None:
        """Return a vector of bytes without copying it, or ``None`` where it is left out."""
        found = self._vector(slot, 1)
        if found is None:
            return None
        start, length = found
        return memoryview(self.file.data)[start : start + length]

    def skim(self, *slots: int, item_size: int = 4) -> None:
        """Check vectors that nobody reads here, but other readers of the file do."""
        for slot in slots:
            found = self._vector(slot, item_size)
            if found is not None:
                self.file.spend(found[1])

    def text(self, slot: int) -> str:
        """Return a text, empty where it is left out; what is no UTF-8 is replaced."""
        block = self.block(slot)
        if block is None:
            return ""
        self.file.spend(min(len(block), _MAX_TEXT))
        return bytes(block[:_MAX_TEXT]).decode(errors="replace")
