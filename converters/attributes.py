"""Strict reading of a node's attributes: what a handler does not read, it refuses."""

from types import TracebackType
from typing import Self

from converters.graph import Attribute, Node


class AttributeReader:
    """Reads the attributes of one node; leaving the ``with`` block refuses unread ones.

    Silent acceptance of an attribute that a handler does not know is how converted
    models become quietly wrong, so the default is refusal.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._unread = dict(node.attributes)

    def __enter__(self) -> Self:
        """Start reading."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Refuse what was not read, unless another error is on its way."""
        if kind is None and self._unread:
            name = min(self._unread)
            value = self._unread[name]
            raise self._node.refuse(f"attribute {name}={value!r} is not supported")

    def _take(self, name: str) -> Attribute | None:
        return self._unread.pop(name, None)

    def integer(self, name: str, default: int) -> int:
        """Return a whole-number attribute."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, int):
            return value
        raise self._node.refuse(f"attribute {name} should be a whole number, found {value!r}")

    def number(self, name: str, default: float) -> float:
        """Return a number attribute."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, int | float):
            return float(value)
        raise self._node.refuse(f"attribute {name} should be a number, found {value!r}")

    def text(self, name: str, default: str) -> str:
        """Return a text attribute."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, str):
            return value
        raise self._node.refuse(f"attribute {name} should be text, found {value!r}")

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, tuple):
            numbers = tuple(item for item in value if isinstance(item, int))
            if len(numbers) == len(value):
                return numbers
        raise self._node.refuse(f"attribute {name} should be whole numbers, found {value!r}")

    def has(self, name: str) -> bool:
        """Whether the model states ``name`` and it has not been read yet."""
        return name in self._unread

    def ignore(self, *names: str) -> None:
        """Accept attributes that repeat what shapes say already."""
        for name in names:
            self._take(name)

    def only(self, name: str, *allowed: Attribute) -> None:
        """Refuse ``name`` unless it is absent or one of ``allowed``."""
        value = self._take(name)
        if value is not None and value not in allowed:
            raise self._node.refuse(f"attribute {name}={value!r} is not supported")
