"""Bundles entered and read back.

A bundle never changes, and its name and version belong to one digest for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Row, insert, select

from edgeops.bundle import Bundle, parse_manifest
from edgeops.codec import JsonValue, plain
from edgeops.errors import UsageError
from edgeops.trust import Signature
from fleet.audit import record
from fleet.db.schema import assignment, bundle, bundle_file, bundle_signature, slot_state

MAX_LISTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEntry:
    """One bundle of the registry; ``pushed_s`` in wall seconds."""

    digest: str
    name: str
    version: str
    serial: int
    task: str
    size_bytes: int
    development: bool
    keyid: str
    pushed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOutcome:
    """What a push did: the same bundle again is no news."""

    digest: str
    name: str
    version: str
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDetail:
    """A bundle with its manifest and where it runs."""

    entry: BundleEntry
    signatures: tuple[str, ...]
    assigned: int
    running: int
    manifest: dict[str, object]


def add(connection: Connection, found: Bundle, *, keyid: str, now_s: float) -> PushOutcome:
    """Enter a verified bundle whose files stand in the blob store already.

    Args:
        connection: Inside a write transaction.
        found: What ``edgeops.bundle.verify`` accepted.
        keyid: The trusted release key that signed.
        now_s: Wall seconds.

    Raises:
        UsageError: Another bundle has this name and version.
    """
    manifest, digest = found.manifest, found.digest
    known = check_name(connection, found)
    if not known:
        files = manifest.files()
        connection.execute(
            insert(bundle).values(
                digest=digest,
                name=manifest.name,
                version=manifest.version,
                serial=manifest.serial,
                task=manifest.task.type,
                development=manifest.development,
                manifest=found.manifest_bytes,
                keyid=keyid,
                size_bytes=sum(ref.size_bytes for ref in files),
                pushed_s=now_s,
            )
        )
        for ref in files:
            connection.execute(
                insert(bundle_file).values(
                    bundle=digest, file=ref.file, sha256=ref.sha256, size_bytes=ref.size_bytes
                )
            )
        record(connection, action="bundle.push", subject=digest, now_s=now_s)
    _add_signatures(connection, digest, found.signatures)
    return PushOutcome(
        digest=digest, name=manifest.name, version=manifest.version, created=not known
    )


def check_name(connection: Connection, found: Bundle) -> bool:
    """Return whether the bundle is in the registry already.

    Raises:
        UsageError: Another bundle has its name and version.
    """
    manifest, digest = found.manifest, found.digest
    same = connection.execute(
        select(bundle.c.digest).where(
            bundle.c.name == manifest.name, bundle.c.version == manifest.version
        )
    ).scalar_one_or_none()
    if same is not None and same != digest:
        raise UsageError(
            f"{found.title} is in the registry as {same[:19]}…, a bundle never changes:"
            f" give {digest[:19]}… another version"
        )
    return same is not None


def listed(
    connection: Connection, *, name: str | None = None, limit: int = MAX_LISTED
) -> tuple[BundleEntry, ...]:
    """Return bundles, newest first."""
    query = select(bundle).order_by(bundle.c.pushed_s.desc(), bundle.c.digest).limit(limit)
    if name is not None:
        query = query.where(bundle.c.name == name)
    return tuple(_entry(row) for row in connection.execute(query))


def resolve(connection: Connection, reference: str) -> str:
    """Return the digest of the bundle that a person meant.

    Args:
        connection: For reading.
        reference: A digest, its first 8 or more hex digits, ``name@version``, or a name (its
            version with the highest serial).

    Raises:
        UsageError: Nothing, or more than one bundle, fits.
    """
    query = select(bundle.c.digest).limit(2)
    name, at, version = reference.partition("@")
    hexdigits = reference.removeprefix("sha256:")
    if at:
        query = query.where(bundle.c.name == name, bundle.c.version == version)
    elif len(hexdigits) >= 8 and set(hexdigits) <= set("0123456789abcdef"):  # noqa: PLR2004
        query = query.where(bundle.c.digest.startswith(f"sha256:{hexdigits}", autoescape=True))
    else:
        query = query.where(bundle.c.name == reference)
        query = query.order_by(bundle.c.serial.desc(), bundle.c.pushed_s.desc()).limit(1)
    found: Sequence[str] = connection.execute(query).scalars().all()
    if not found:
        raise UsageError(f"no bundle {reference[:100]!r} is in the registry; push it there first")
    if len(found) > 1:
        raise UsageError(f"more than one bundle starts with {reference[:100]!r}")
    return found[0]


def detail(connection: Connection, digest: str) -> BundleDetail | None:
    """Return one bundle with its manifest, or ``None``."""
    row = connection.execute(select(bundle).where(bundle.c.digest == digest)).first()
    if row is None:
        return None
    assigned = select(assignment.c.device).where(assignment.c.bundle == digest).distinct()
    running = select(slot_state.c.device).where(slot_state.c.running == digest).distinct()
    manifest: JsonValue = plain(parse_manifest(row.manifest))
    return BundleDetail(
        entry=_entry(row),
        signatures=tuple(signature.keyid for signature in signatures(connection, digest)),
        assigned=len(connection.execute(assigned).all()),
        running=len(connection.execute(running).all()),
        manifest=dict(manifest) if isinstance(manifest, dict) else {},
    )


def manifest_bytes(connection: Connection, digest: str) -> bytes | None:
    """Return the manifest exactly as it was signed, or ``None``."""
    return connection.execute(
        select(bundle.c.manifest).where(bundle.c.digest == digest)
    ).scalar_one_or_none()


def signatures(connection: Connection, digest: str) -> tuple[Signature, ...]:
    """Return the release signatures of a bundle."""
    rows = connection.execute(
        select(bundle_signature.c.keyid, bundle_signature.c.sig)
        .where(bundle_signature.c.bundle == digest)
        .order_by(bundle_signature.c.keyid)
    )
    return tuple(Signature(keyid=row.keyid, sig=row.sig) for row in rows)


def may_fetch(connection: Connection, device_id: str, sha256: str) -> bool | None:
    """Return whether a blob belongs to a bundle assigned to the device; ``None``: no such blob."""
    holders = select(bundle_file.c.bundle).where(bundle_file.c.sha256 == sha256)
    if connection.execute(holders.limit(1)).first() is None:
        return None
    mine = (
        select(assignment.c.gen)
        .where(assignment.c.device == device_id, assignment.c.bundle.in_(holders))
        .limit(1)
    )
    return connection.execute(mine).first() is not None


def _add_signatures(connection: Connection, digest: str, found: tuple[Signature, ...]) -> None:
    known = {signature.keyid for signature in signatures(connection, digest)}
    for signature in found:
        if signature.keyid not in known:
            known.add(signature.keyid)
            connection.execute(
                insert(bundle_signature).values(
                    bundle=digest, keyid=signature.keyid[:64], sig=signature.sig
                )
            )


def _entry(row: Row[*tuple[object, ...]]) -> BundleEntry:
    return BundleEntry(
        digest=row.digest,
        name=row.name,
        version=row.version,
        serial=row.serial,
        task=row.task,
        size_bytes=row.size_bytes,
        development=row.development,
        keyid=row.keyid,
        pushed_s=row.pushed_s,
    )
