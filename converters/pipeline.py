"""A conversion from recipe to signed bundle: the order of the steps."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from converters.interruption import undisturbed
from converters.making import Made, make_files
from converters.outcome import Conversion
from converters.progress import Progress, Unseen
from converters.recipe import LoadedRecipe
from converters.release import make_manifest, publish
from converters.session import Session, open_session
from edgeops.clock import Clock
from edgeops.durable import remove_tree
from edgeops.errors import StorageError
from edgeops.trust import SigningKey

BUNDLE: Final = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """The release key, and whether it is only a developer's own."""

    key: SigningKey
    development: bool


def convert(
    loaded: LoadedRecipe,
    out: Path,
    *,
    signer: Signer,
    clock: Clock,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> Conversion:
    """Convert as the recipe says.

    Returns:
        The outcome; with the verdict ``refused`` no bundle is left in ``out``.

    Args:
        loaded: The recipe.
        out: Folder that the bundle is put into; made if it is missing.
        signer: Signs the manifest.
        clock: For durations.
        say: Takes words for people.
        progress: Takes how far a step is.

    Raises:
        EdgeOpsError: The model cannot be imported, data cannot be read, or the disk is full.
    """
    started = clock.monotonic()
    progress = progress or Unseen()
    session = open_session(loaded, say, progress)
    with _work_folder(out) as work:
        made = make_files(session, work, work / BUNDLE, clock, say)
        progress.stage("writing the bundle")
        done = replace(made.outcome, seconds=clock.monotonic() - started)
        if done.verdict == "refused":
            return done
        return _published(session, made, done, work / BUNDLE, out=out, signer=signer)


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """Yield a hidden folder in ``out`` that is gone afterwards, whatever happens."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        work = out / f".making.{secrets.token_hex(4)}"
        work.mkdir()
    except OSError as error:
        raise StorageError(f"cannot write into {out}: {error.strerror or error}") from error
    try:
        yield work
    finally:
        with undisturbed():
            remove_tree(work)


def _published(
    session: Session, made: Made, done: Conversion, folder: Path, *, out: Path, signer: Signer
) -> Conversion:
    manifest = make_manifest(
        session,
        folder,
        done.variants,
        made.quantized.attempts,
        development=signer.development,
    )
    with undisturbed():
        bundle = publish(folder, manifest, _measurements(done), signer.key, out)
    return replace(done, bundle=bundle.folder, digest=bundle.digest)


def _measurements(done: Conversion) -> dict[str, object]:
    """Return what differs from run to run: it stands outside the digest."""
    record = done.record()
    for told_elsewhere in ("bundle", "digest", "report"):
        record.pop(told_elsewhere)
    return record
