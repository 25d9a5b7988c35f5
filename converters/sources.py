"""What ``evaluate`` and ``benchmark`` are pointed at: a bundle or a bare model file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from converters.benchmark import ModelFile
from edgeops.bundle import SUFFIX, Bundle, opened, verify
from edgeops.contracts.scalars import Precision, Runtime
from edgeops.errors import StorageError
from edgeops.inference.variants import choose_variant

AnyRuntime = Runtime | Literal["auto"]
AnyPrecision = Precision | Literal["auto"]


@contextmanager
def opened_source(
    path: Path, *, runtime: AnyRuntime = "auto", precision: AnyPrecision = "auto"
) -> Iterator[tuple[ModelFile, Bundle | None]]:
    """Yield the model file meant, and its bundle where it has one.

    Raises:
        StorageError: There is no such file or folder.
        ContractError, TrustError: The bundle is damaged.
        InferenceError: No variant asked for can run here.
    """
    if not path.exists():
        raise StorageError(f"cannot read {path}: no such file or folder")
    if not path.is_dir() and path.suffix != SUFFIX:
        yield ModelFile.bare(path), None
        return
    with TemporaryDirectory() as work, opened(path, Path(work)) as bundle:
        verify(bundle, None)
        variant = choose_variant(bundle.manifest, runtime=runtime, precision=precision)
        file = ModelFile(
            path=bundle.path(variant.file),
            runtime=variant.runtime,
            size_bytes=variant.size_bytes,
            variant=variant,
        )
        yield file, bundle
