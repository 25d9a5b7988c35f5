"""``convert --check``: the same input must give the same manifest, byte for byte."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from converters.pipeline import Signer, convert
from converters.progress import Progress
from converters.recipe import LoadedRecipe
from edgeops import codec
from edgeops.bundle import MANIFEST, opened
from edgeops.clock import SystemClock
from edgeops.errors import CheckFailedError
from edgeops.trust import SigningKey


def rebuild(
    loaded: LoadedRecipe,
    bundle: Path,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> str:
    """Convert again in a temporary folder and return the digest if it is the same.

    Raises:
        CheckFailedError: The manifests differ; the error names the first difference.
    """
    with tempfile.TemporaryDirectory() as folder, opened(bundle, Path(folder)) as known:
        signer = Signer(key=SigningKey.generate(), development=known.manifest.development)
        out = Path(folder) / "again"
        done = convert(loaded, out, signer=signer, clock=SystemClock(), say=say, progress=progress)
        if done.bundle is None:
            raise CheckFailedError(f"{bundle} cannot be rebuilt: the conversion is refused now")
        again = (done.bundle / MANIFEST).read_bytes()
        if again == known.manifest_bytes:
            return known.digest
        old = codec.decode(known.manifest_bytes, dict, where="manifest")
        new = codec.decode(again, dict, where="manifest")
        where = next(differences(old, new, "manifest"), "manifest: only in its spelling")
        raise CheckFailedError(f"{bundle} is not what its recipe gives here: {where}")


def differences(old: object, new: object, path: str) -> Iterator[str]:
    """Yield a sentence for each place where two documents differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{path}[{index}]")
    elif old != new:
        yield f"{path} was {old!r:.80}, is {new!r:.80}"
