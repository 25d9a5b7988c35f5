"""``edgeops fleet models``: the registry from the command line."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from edgeops.console import new_app, print_json, say
from fleet.cli_common import Config, Json, TokenFile, Url, client, short, table, when

app = new_app("Push, list and show signed model bundles.")


@app.command()
def push(
    *,
    bundle: Annotated[Path, typer.Argument(help="A bundle folder or .edgeops file.")],
    trust_key: Annotated[
        list[Path] | None,
        typer.Option(help="Check the signature here first, with this public release key."),
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Push a bundle; the server keeps it only where it trusts the release key."""
    from edgeops import bundle as bundles  # noqa: PLC0415  # signatures; other commands need none
    from edgeops.trust import TrustStore  # noqa: PLC0415

    trust = TrustStore.load(release=trust_key) if trust_key else None
    with tempfile.TemporaryDirectory() as work, client(url, token_file, config) as fleet:
        with bundles.opened(bundle, Path(work)) as found:
            bundles.verify(found, trust)  # a damaged one is not worth the upload
            packed = Path(work) / f"push{bundles.SUFFIX}"
            bundles.pack(found, packed)
        answer = fleet.push(packed)
    if json:
        print_json(answer)
    else:
        news = "is in the registry" if answer.get("created") else "was in the registry already"
        say(f"{answer.get('name')} {answer.get('version')} {news}: {answer.get('digest')}")


@app.command(name="list")
def list_(
    *,
    name: Annotated[str | None, typer.Option(help="Only of this name.")] = None,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List bundles, newest first."""
    with client(url, token_file, config) as fleet:
        rows = fleet.get_list("bundles", name=name)
    if json:
        print_json(rows)
        return
    lines = [
        [
            row["name"], row["version"], row["serial"], row["task"], row["size_bytes"],
            short(row["digest"]), row["development"], when(row["pushed_s"]),
        ]
        for row in rows
    ]  # fmt: skip
    columns = ("name", "version", "serial", "task", "bytes", "digest", "development", "pushed")
    table(columns, lines)


@app.command()
def show(
    *,
    reference: Annotated[
        str, typer.Argument(help="Digest, its beginning, name@version, or name (newest).")
    ],
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
) -> None:
    """Print a bundle with its manifest and where it runs, as JSON."""
    with client(url, token_file, config) as fleet:
        print_json(fleet.get_object("bundles", reference))
