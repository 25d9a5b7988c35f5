"""A conversion from recipe to signed bundle: the order of the steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from converters.documents import Documented, document
from converters.interruption import undisturbed
from converters.making import make_files
from converters.outcome import Conversion
from converters.progress import Progress, Unseen
from converters.recipe import LoadedRecipe
from converters.release import file_title, publish, require_place, seal
from converters.report.files import write_beside
from converters.session import open_session
from converters.work_folder import work_folder
from edgeops.bundle import SUFFIX
from edgeops.clock import Clock
from edgeops.contracts.manifest import Manifest
from edgeops.durable import rename
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
    require_place(out, file_title(loaded.recipe))
    session = open_session(loaded, say, progress)
    with work_folder(out) as work:
        made = make_files(session, work, work / BUNDLE, clock, say)
        progress.stage("writing the bundle")
        documented = document(made, work / BUNDLE, development=signer.development)
        done = replace(documented.outcome, seconds=clock.monotonic() - started)
        if documented.manifest is None:
            return _refused(documented, done, work, out)
        return _published(documented, documented.manifest, done, work, out=out, signer=signer)


def _refused(documented: Documented, done: Conversion, work: Path, out: Path) -> Conversion:
    """Leave the report alone in ``out``: it tells what was tried."""
    page = write_beside(work, documented.timed(done))
    with undisturbed():
        for file in (page, page.with_suffix(".json")):
            rename(file, out / file.name)
    return replace(done, report=out / page.name)


def _published(
    documented: Documented,
    manifest: Manifest,
    done: Conversion,
    work: Path,
    *,
    out: Path,
    signer: Signer,
) -> Conversion:
    sealed = seal(work / BUNDLE, manifest, _measurements(done), signer.key)
    done = replace(done, digest=sealed.digest)
    page = write_beside(work, documented.timed(done))
    title = file_title(manifest)
    with undisturbed():
        files = (work / f"{title}{SUFFIX}", page, page.with_suffix(".json"))
        bundle = publish(work / BUNDLE, title, files, out)
    return replace(done, bundle=bundle.folder, report=out / page.name)


def _measurements(done: Conversion) -> dict[str, object]:
    """Return what differs from run to run: it stands outside the digest."""
    record = done.record()
    for told_elsewhere in ("bundle", "digest", "report"):
        record.pop(told_elsewhere)
    return record
