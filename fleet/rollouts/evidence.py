"""Why a rollout did what it did: records that can be added and never changed unseen. Pure.

Each record's hash covers its body and the hash before it, so that a changed, removed or exchanged
record breaks the chain; the rollout's own row keeps the number and hash of the last one, so that
a cut tail shows too.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgeops import codec
from edgeops.errors import TrustError

START: Final = hashlib.sha256(b"edgeops rollout evidence").hexdigest()
"""What the first record refers to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One decision.

    Attributes:
        seq: Counts from 1.
        at_s: Wall seconds since 1970 at the server.
        kind: What happened, one word: ``created``, ``verdict``, ``paused`` …
        actor: ``engine`` or the operator.
        body: The figures, as JSON values.
    """

    rollout: str
    seq: int
    stage: int | None
    at_s: float
    kind: str
    actor: str
    body: codec.JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """A record without its body, for which msgspec has no type: any JSON value."""

    rollout: str
    seq: int
    stage: int | None = None
    at_s: float
    kind: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A record as stored: its bytes and the two hashes."""

    data: bytes
    previous: str
    hash: str


def link(record: Record, previous: str) -> Link:
    """Return the record chained to the hash before it."""
    data = codec.canonical(record)
    return Link(data=data, previous=previous, hash=_hash(previous, data))


def verified(links: Sequence[Link], *, rollout: str, count: int, head: str) -> tuple[Record, ...]:
    """Return the records once the whole chain was checked.

    Args:
        links: All records of the rollout in order.
        rollout: Whose records they must be.
        count: How many there must be.
        head: Hash of the last one (``START`` where there is none).

    Raises:
        TrustError: A record was changed, removed, added or moved.
    """
    records: list[Record] = []
    previous = START
    for seq, item in enumerate(links, start=1):
        if item.previous != previous or item.hash != _hash(previous, item.data):
            raise TrustError(f"evidence of rollout {rollout}: record {seq} breaks the chain")
        record = _record(item.data, where=f"evidence[{seq}]")
        if record.seq != seq or record.rollout != rollout:
            raise TrustError(f"evidence of rollout {rollout}: record {seq} belongs elsewhere")
        records.append(record)
        previous = item.hash
    if len(links) != count or previous != head:
        raise TrustError(
            f"evidence of rollout {rollout}: {len(links)} records are there, {count} were written"
        )
    return tuple(records)


def _record(data: bytes, *, where: str) -> Record:
    head = codec.decode(data, _Head, where=where)
    return Record(
        rollout=head.rollout,
        seq=head.seq,
        stage=head.stage,
        at_s=head.at_s,
        kind=head.kind,
        actor=head.actor,
        body=json.loads(data).get("body"),
    )


def _hash(previous: str, data: bytes) -> str:
    return hashlib.sha256(previous.encode() + b"\n" + data).hexdigest()
