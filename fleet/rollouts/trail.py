"""Writes and reads the evidence of rollouts."""

from dataclasses import replace

from sqlalchemy import Connection, insert, select, update

from edgeops import codec
from fleet.db.rollout_tables import rollout, rollout_evidence
from fleet.rollouts.evidence import Link, Record, link, verified
from fleet.rollouts.store import Rollout


def write(
    connection: Connection,
    now: Rollout,
    kind: str,
    *,
    actor: str,
    now_s: float,
    stage: int | None = None,
    body: object = None,
) -> Rollout:
    """Append one record to a rollout's chain."""
    record = Record(
        rollout=now.id,
        seq=now.evidence_count + 1,
        stage=stage,
        at_s=now_s,
        kind=kind,
        actor=actor,
        body=codec.plain(body),
    )
    item = link(record, now.evidence_head)
    connection.execute(
        insert(rollout_evidence).values(
            rollout=now.id,
            seq=record.seq,
            data=item.data,
            previous=item.previous,
            hash=item.hash,
        )
    )
    connection.execute(
        update(rollout)
        .where(rollout.c.id == now.id)
        .values(evidence_count=record.seq, evidence_head=item.hash)
    )
    return replace(now, evidence_count=record.seq, evidence_head=item.hash)


def read(connection: Connection, now: Rollout) -> tuple[Record, ...]:
    """Return a rollout's records once their chain was checked.

    Raises:
        TrustError: A record was changed, removed or added.
    """
    rows = connection.execute(
        select(rollout_evidence)
        .where(rollout_evidence.c.rollout == now.id)
        .order_by(rollout_evidence.c.seq)
    )
    links = [Link(data=row.data, previous=row.previous, hash=row.hash) for row in rows]
    return verified(links, rollout=now.id, count=now.evidence_count, head=now.evidence_head)
