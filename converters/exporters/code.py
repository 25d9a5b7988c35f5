"""Models that code makes: ``module:factory``, looked for beside the recipe first."""

import importlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from edgeops.errors import UsageError

SEED = 0
"""A factory that draws random numbers must draw the same ones in every conversion."""


@contextmanager
def search_path(folder: Path) -> Iterator[None]:
    """Look for modules in ``folder`` first, inside the block only."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def find_factory(spec: str, folder: Path) -> Callable[[], object]:
    """Return what ``module:factory`` names; importing the module runs its code.

    Raises:
        UsageError: It is not of that form, or names no function of an existing module.
    """
    module_name, _, name = spec.partition(":")
    if not name.isidentifier() or not all(map(str.isidentifier, module_name.split("."))):
        raise UsageError(f"{spec!r}: expected module:factory, such as net:make_model")
    with search_path(folder):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name:
                raise
            raise UsageError(f"{spec!r}: there is no module {module_name!r} in {folder}") from error
        factory = getattr(module, name, None)
    if not callable(factory):
        raise UsageError(f"{spec!r}: the module {module_name!r} has no function {name!r}")
    return cast("Callable[[], object]", factory)


def make(spec: str, folder: Path) -> object:
    """Return what the factory ``spec`` makes, with the usual random numbers seeded.

    Raises:
        UsageError: There is no such factory.
    """
    factory = find_factory(spec, folder)
    random.seed(SEED)
    np.random.seed(SEED)  # the generator that factories use unasked
    with search_path(folder):
        return factory()
