"""Write a report: its deterministic part into the bundle, page and full document beside it."""

from pathlib import Path
from typing import Final

from converters.report.contents import Report, without_measurements
from converters.report.page import render
from edgeops import codec
from edgeops.bundle import file_ref
from edgeops.contracts.manifest import FileRef
from edgeops.durable import write_atomic

INSIDE: Final = "report.json"

MAX_REPORT_BYTES: Final = 16 << 20
"""Of a document that is read again; a network of a thousand layers needs a fiftieth."""


def write_inside(folder: Path, report: Report) -> FileRef:
    """Write what the same input always gives into a bundle in the making.

    Raises:
        StorageError: The disk is full or read-only.
    """
    write_atomic(folder / INSIDE, codec.canonical(without_measurements(report)))
    return file_ref(folder, INSIDE)


def write_beside(out: Path, report: Report) -> Path:
    """Write page and document as ``NAME-VERSION.report.html`` and ``.json``; return the page.

    Raises:
        StorageError: The disk is full or read-only; earlier reports stay whole.
    """
    title = f"{report.name}-{report.version}.report"
    page = out / f"{title}.html"
    write_atomic(out / f"{title}.json", codec.canonical(report))
    write_atomic(page, render(report).encode())
    return page
