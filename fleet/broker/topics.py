"""Topic names and filters: their rules, comparison, and trees that look them up. Pure.

Wildcards follow [4.7]: ``+`` stands for one level, a last ``#`` for any number of levels
including none, and neither at the first level for a topic that starts with ``$``.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Generic, TypeVar

from edgeops.errors import ContractError

MOST_LEVELS: Final = 200
"""Deeper topics only serve to make lookups slow; Mosquitto has the same bound."""
LONGEST_TOPIC_BYTES: Final = 0xFFFF

Key = TypeVar("Key")
Value = TypeVar("Value")
Levels = Sequence[str]
"""A topic or filter cut at its slashes."""


class TopicError(ContractError):
    """A topic name or filter breaks the standard's rules."""

    code = "mqtt-topic"


def check_topic(topic: str) -> None:
    """Accept a topic name.

    Raises:
        TopicError: It is empty, too long, too deep, or holds a wildcard or U+0000.
    """
    _check_size(topic)
    if "+" in topic or "#" in topic:
        raise TopicError("topic", "a topic name holds no wildcard")


def check_filter(topic_filter: str) -> None:
    """Accept a topic filter.

    Raises:
        TopicError: It is empty, too long, too deep, or a wildcard shares its level or ``#`` is
            not last.
    """
    _check_size(topic_filter)
    if "+" not in topic_filter and "#" not in topic_filter:
        return
    levels = topic_filter.split("/")
    for index, level in enumerate(levels):
        if level in {"+", "#"}:
            if level == "#" and index != len(levels) - 1:
                raise TopicError("filter", "'#' stands only at the end")
        elif "+" in level or "#" in level:
            raise TopicError("filter", "a wildcard has its level for itself")


def _check_size(text: str) -> None:
    if not text:
        raise TopicError("topic", "empty")
    if "\0" in text:
        raise TopicError("topic", "holds U+0000")
    if len(text.encode()) > LONGEST_TOPIC_BYTES:
        raise TopicError("topic", f"longer than {LONGEST_TOPIC_BYTES} bytes")
    if text.count("/") >= MOST_LEVELS:
        raise TopicError("topic", f"more than {MOST_LEVELS} levels")


def matches(topic_filter: Levels, topic: Levels) -> bool:
    """Return whether the topic name falls under the filter."""
    return covers(topic_filter, topic)


def covers(wide: Levels, narrow: Levels) -> bool:
    """Return whether every topic that ``narrow`` matches is matched by ``wide`` too."""
    for index, level in enumerate(wide):
        if level == "#":
            return index > 0 or not narrow[0].startswith("$")
        if index >= len(narrow) or narrow[index] == "#":
            return False
        if level == "+":
            if index == 0 and narrow[0].startswith("$"):
                return False
        elif level != narrow[index]:
            return False
    return len(wide) == len(narrow)


def overlaps(one: Levels, other: Levels) -> bool:
    """Return whether some topic falls under both filters."""
    for index in range(max(len(one), len(other))):
        left = one[index] if index < len(one) else None
        right = other[index] if index < len(other) else None
        if "#" in (left, right) or (
            left is not None and right is not None and "+" in (left, right)
        ):
            if index == 0 and (_is_reserved(left) or _is_reserved(right)):
                return False
            if "#" in (left, right):
                return True
        elif left != right:
            return False
    return True


def _is_reserved(level: str | None) -> bool:
    return level is not None and level.startswith("$")


class _Node(Generic[Key, Value]):
    __slots__ = ("children", "here")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Key, Value]] = {}
        self.here: dict[Key, Value] = {}


class FilterTree(Generic[Key, Value]):
    """Filters with who holds them; finds all holders for a topic in steps of its depth."""

    def __init__(self) -> None:
        self._root: _Node[Key, Value] = _Node()

    def add(self, topic_filter: str, key: Key, value: Value) -> None:
        """Let ``key`` hold the filter, in place of what it held there."""
        node = self._root
        for level in topic_filter.split("/"):
            if (child := node.children.get(level)) is None:
                child = node.children[level] = _Node()
            node = child
        node.here[key] = value

    def remove(self, topic_filter: str, key: Key) -> bool:
        """Forget the filter for ``key``; return whether it was there."""
        levels = topic_filter.split("/")
        path = [self._root]
        for level in levels:
            if (child := path[-1].children.get(level)) is None:
                return False
            path.append(child)
        if path[-1].here.pop(key, None) is None:
            return False
        for index in range(len(levels) - 1, -1, -1):  # prune what became empty
            if path[index + 1].here or path[index + 1].children:
                break
            del path[index].children[levels[index]]
        return True

    def match(self, topic: str) -> list[tuple[Key, Value]]:
        """Return each holder of each filter that the topic name falls under."""
        levels = topic.split("/")
        found: list[tuple[Key, Value]] = []
        nodes = [self._root]
        reserved = levels[0].startswith("$")
        for level in levels:
            following: list[_Node[Key, Value]] = []
            for node in nodes:
                children = node.children
                if not reserved:
                    if (rest := children.get("#")) is not None:
                        found.extend(rest.here.items())
                    if (one := children.get("+")) is not None:
                        following.append(one)
                if (exact := children.get(level)) is not None:
                    following.append(exact)
            nodes = following
            reserved = False  # only the first level is special
        for node in nodes:
            found.extend(node.here.items())
            if (rest := node.children.get("#")) is not None:  # "a/#" also means "a"
                found.extend(rest.here.items())
        return found

    def is_empty(self) -> bool:
        """Return whether no filter is held: then no memory is either."""
        return not self._root.children


class _Leaf(Generic[Value]):
    __slots__ = ("children", "topic", "value")

    def __init__(self) -> None:
        self.children: dict[str, _Leaf[Value]] = {}
        self.topic = ""
        self.value: Value | None = None


class TopicTree(Generic[Value]):
    """One value per topic name; finds all that fall under a filter without a full scan."""

    def __init__(self) -> None:
        self._root: _Leaf[Value] = _Leaf()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, topic: str) -> Value | None:
        """Return the topic's value."""
        leaf: _Leaf[Value] | None = self._root
        for level in topic.split("/"):
            if (leaf := leaf.children.get(level) if leaf is not None else None) is None:
                return None
        return leaf.value if leaf is not None else None

    def put(self, topic: str, value: Value) -> None:
        """Set the topic's value."""
        leaf = self._root
        for level in topic.split("/"):
            if (child := leaf.children.get(level)) is None:
                child = leaf.children[level] = _Leaf()
            leaf = child
        self._count += leaf.value is None
        leaf.topic, leaf.value = topic, value

    def remove(self, topic: str) -> Value | None:
        """Forget the topic; return the value it had."""
        levels = topic.split("/")
        path = [self._root]
        for level in levels:
            if (child := path[-1].children.get(level)) is None:
                return None
            path.append(child)
        if (value := path[-1].value) is None:
            return None
        path[-1].value = None
        self._count -= 1
        for index in range(len(levels) - 1, -1, -1):
            if path[index + 1].value is not None or path[index + 1].children:
                break
            del path[index].children[levels[index]]
        return value

    def match(self, topic_filter: str) -> Iterator[tuple[str, Value]]:
        """Yield each topic under the filter with its value, in no particular order."""
        levels = topic_filter.split("/")
        leaves = [self._root]
        for index, level in enumerate(levels):
            if level == "#":
                for leaf in leaves:
                    yield from self._below(leaf, skip_reserved=index == 0)
                return
            following: list[_Leaf[Value]] = []
            for leaf in leaves:
                if level == "+":
                    following += [
                        child
                        for name, child in leaf.children.items()
                        if index > 0 or not name.startswith("$")
                    ]
                elif (child := leaf.children.get(level)) is not None:
                    following.append(child)
            leaves = following
        for leaf in leaves:
            if leaf.value is not None:
                yield leaf.topic, leaf.value

    @staticmethod
    def _below(leaf: _Leaf[Value], *, skip_reserved: bool) -> Iterator[tuple[str, Value]]:
        waiting = [leaf]
        while waiting:
            here = waiting.pop()
            if here.value is not None:
                yield here.topic, here.value
            waiting += [
                child
                for name, child in here.children.items()
                if not (skip_reserved and here is leaf and name.startswith("$"))
            ]
