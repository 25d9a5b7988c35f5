"""What every ``edgeops fleet`` command shares: how the server is found, how tables look."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeops.clock import iso
from edgeops.codec import JsonValue
from edgeops.console import print_json, say
from edgeops.errors import UsageError
from edgeops.quantities import Duration

if TYPE_CHECKING:
    from fleet.client import FleetClient, JsonObject

Url = Annotated[
    str | None, typer.Option("--server", help="The server's URL; else EDGEOPS_FLEET_URL.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="File with the operator's token; else EDGEOPS_FLEET_TOKEN_FILE."),
]
Config = Annotated[
    Path | None, typer.Option(help="fleet.yaml of a server on this machine, to find it by.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

SHORT_DIGEST = 19


def client(url: str | None, token_file: Path | None, config: Path | None) -> "FleetClient":
    """Return a client of the server meant; see ``fleet.client.find_server`` for the errors."""
    from fleet.client import FleetClient, find_server  # noqa: PLC0415  # help stays fast

    return FleetClient(find_server(url, token_file, config))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: for people on a terminal, separated by tabs in a pipe."""
    if not rows:
        say("nothing to show")
        return
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(_plain(cell) for cell in row))
        return
    from rich.console import Console  # noqa: PLC0415  # 60 ms that a pipe need not pay
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    found = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        found.add_row(*(Text(_plain(cell)) for cell in row))
    Console().print(found)


def listing(
    rows: "list[JsonObject]", columns: Sequence[str], names: Sequence[str], *, json: bool
) -> None:
    """Print objects as JSON, or the fields ``names`` of each as a table."""
    if json:
        print_json(rows)
    else:
        table(columns, [[row.get(name) for name in names] for row in rows])


def label_of(text: str) -> tuple[str, str]:
    """Return the two parts of ``KEY=VALUE``; raises ``UsageError``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--label {text!r} is not KEY=VALUE")
    return name, value


def pairs(value: object) -> str:
    """Return nested figures as ``gate.min_n=5 stages=[count=1; percent=100]``, without empty ones.

    Numbers have four significant digits; ``--json`` has them all.
    """
    if not isinstance(value, dict):
        return "" if value is None else _figure(value)
    return " ".join(f"{path}={_figure(item)}" for path, item in _flat(value, ""))


def _flat(value: dict[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        elif item is not None and item is not False and item not in ("", []):
            yield f"{prefix}{key}", item


def _figure(value: object) -> str:
    if isinstance(value, list):
        return f"[{'; '.join(pairs(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = _plain(value)
    return short(text) if text.startswith("sha256:") else text


def duration_of(text: str, option: str) -> Duration:
    """Return the duration that an option says; raises ``UsageError`` that names it."""
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def short(digest: JsonValue) -> str:
    """Return the beginning of a digest, or ``-``."""
    return str(digest)[:SHORT_DIGEST] if digest else "-"


def when(wall_s: JsonValue) -> str:
    """Return wall seconds as text, or ``-``."""
    return iso(float(wall_s)) if isinstance(wall_s, int | float) else "-"


def _plain(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    text = str(cell)
    # What a device said must not steer the terminal.
    return "".join(char if char.isprintable() else "?" for char in text)
