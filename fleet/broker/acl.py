"""Who may read and write which topics, in Mosquitto's own file format. Pure.

    user NAME
    topic [read|write|readwrite|deny] FILTER
    pattern [read|write|readwrite|deny] FILTER      %u = user name, %c = client id

``topic`` lines belong to the ``user`` above them (to anonymous clients before the first one),
``pattern`` lines to everyone. A user's own lines are asked first; among lines of one kind ``deny``
wins; what no line allows is denied.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from edgeops.errors import ContractError
from fleet.broker.topics import Levels, TopicError, check_filter, covers, matches, overlaps


class Access(StrEnum):
    """What a line of the file grants."""

    READ = "read"
    WRITE = "write"
    READWRITE = "readwrite"
    DENY = "deny"


class Grant(Enum):
    """What a subscription may see."""

    REFUSED = auto()
    """No topic under the filter is readable."""
    PARTIAL = auto()
    """Some may be: each message is asked for."""
    FULL = auto()
    """All are."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: an access and a filter cut into levels."""

    access: Access
    levels: tuple[str, ...]

    def reads(self) -> bool:
        """Return whether the line allows reading."""
        return self.access in {Access.READ, Access.READWRITE}


@dataclass(frozen=True, slots=True)
class Permissions:
    """The lines that hold for one client, names filled in.

    Attributes:
        unrestricted: There is no access file: everything is allowed.
    """

    own: tuple[Rule, ...] = ()
    patterns: tuple[Rule, ...] = ()
    unrestricted: bool = False

    def may_write(self, topic: str) -> bool:
        """Return whether the client may publish to the topic name."""
        return self.unrestricted or self._allows(topic.split("/"), Access.WRITE)

    def may_read(self, topic: str) -> bool:
        """Return whether the client may receive the topic name."""
        return self.unrestricted or self._allows(topic.split("/"), Access.READ)

    def _allows(self, topic: Levels, wanted: Access) -> bool:
        for rules in (self.own, self.patterns):
            allowed = False
            for rule in rules:
                if rule.access in {wanted, Access.READWRITE, Access.DENY} and matches(
                    rule.levels, topic
                ):
                    if rule.access is Access.DENY:
                        return False
                    allowed = True
            if allowed:
                return True
        return False

    def grant(self, topic_filter: str) -> Grant:
        """Return how much of the filter the client may read."""
        if self.unrestricted:
            return Grant.FULL
        wanted = topic_filter.split("/")
        rules = self.own + self.patterns
        if not any(rule.reads() and overlaps(rule.levels, wanted) for rule in rules):
            return Grant.REFUSED
        denies = [rule.levels for rule in rules if rule.access is Access.DENY]
        if any(rule.access is Access.DENY and covers(rule.levels, wanted) for rule in self.own):
            return Grant.REFUSED
        whole = any(rule.reads() and covers(rule.levels, wanted) for rule in rules)
        return (
            Grant.FULL
            if whole and not any(overlaps(levels, wanted) for levels in denies)
            else Grant.PARTIAL
        )


UNRESTRICTED = Permissions(unrestricted=True)


@dataclass(frozen=True, slots=True)
class AccessFile:
    """A whole access file."""

    anonymous: tuple[Rule, ...] = ()
    users: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    patterns: tuple[Rule, ...] = ()

    def permissions(self, username: str | None, client_id: str) -> Permissions:
        """Return what holds for one client."""
        own = self.anonymous if username is None else self.users.get(username, ())
        return Permissions(own, tuple(_filled(self.patterns, username, client_id)))


def _filled(patterns: Iterable[Rule], username: str | None, client_id: str) -> Iterable[Rule]:
    """Return the patterns with names in place of %u and %c.

    A name with a slash or wildcard could widen a filter or slip past a ``deny``, so a client
    called so gets nothing from patterns at all.
    """
    filled: list[Rule] = []
    for rule in patterns:
        text = "/".join(rule.levels)
        if "%u" in text and username is None:
            continue
        used = (username or "") * ("%u" in text) + client_id * ("%c" in text)
        if set(used) & set("+#/"):
            return ()
        levels = (_replace_marks(level, username or "", client_id) for level in rule.levels)
        filled.append(Rule(rule.access, tuple(levels)))
    return filled


def _replace_marks(level: str, username: str, client_id: str) -> str:
    # Split first: a user called "%c" must not be replaced a second time.
    return username.join(part.replace("%c", client_id) for part in level.split("%u"))


def parse_acl(text: str, source: str) -> AccessFile:
    """Read an access file; empty lines and lines with ``#`` in front say nothing.

    Raises:
        ContractError: A line is not understood; the place is ``source:line``.
    """
    anonymous: list[Rule] = []
    users: dict[str, list[Rule]] = {}
    patterns: list[Rule] = []
    own = anonymous
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        place = f"{source}:{number}"
        keyword, _, rest = line.partition(" ")
        rest = rest.strip()
        if not rest:
            raise ContractError(place, f"{keyword!r} says nothing")
        match keyword:
            case "user":
                own = users.setdefault(rest, [])
            case "topic":
                own.append(_parse_rule(rest, place))
            case "pattern":
                patterns.append(_parse_rule(rest, place))
            case _:
                raise ContractError(place, f"expected user, topic or pattern, found {keyword!r}")
    return AccessFile(
        tuple(anonymous), {name: tuple(rules) for name, rules in users.items()}, tuple(patterns)
    )


def _parse_rule(text: str, place: str) -> Rule:
    word, space, rest = text.partition(" ")
    access, topic_filter = (word, rest.strip()) if space else (Access.READWRITE.value, text)
    if access not in list(Access):
        raise ContractError(place, f"expected read, write, readwrite or deny, found {access!r}")
    try:
        check_filter(topic_filter)
    except TopicError as error:
        raise ContractError(place, f"filter {topic_filter!r}: {error.reason}") from error
    return Rule(Access(access), tuple(topic_filter.split("/")))
