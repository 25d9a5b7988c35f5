"""``edgeops keys``: makes signing keys."""

from pathlib import Path
from typing import Annotated

import typer

from edgeops.console import new_app, print_json, say
from edgeops.errors import StorageError, UsageError
from edgeops.trust import Role, SigningKey, VerifyKey

app = new_app("Make and show signing keys.")


@app.callback()
def _group() -> None:
    """Keep ``new`` a sub-command."""


@app.command()
def new(
    role: Annotated[Role, typer.Argument(help="What the key may sign.")],
    out: Annotated[Path, typer.Option(help="Folder for ROLE.key and ROLE.pub.")] = Path(),
    force: Annotated[bool, typer.Option(help="Replace a key that stands there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a key pair: ROLE.key (keep it offline, mode 0600) and ROLE.pub (give it to devices)."""
    private, public = out / f"{role}.key", out / f"{role}.pub"
    if private.exists() and not force:
        raise UsageError(f"{private} exists; --force replaces it (devices that trust it will not)")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {out}: {error.strerror or error}") from error
    key = SigningKey.generate()
    key.save(private, public)
    if json:
        print_json({"keyid": key.public.keyid, "private": str(private), "public": str(public)})
    else:
        say(f"{role} key {key.public.keyid}: {private} (secret), {public} (public)")


@app.command()
def show(public: Annotated[Path, typer.Argument(help="A .pub file.")]) -> None:
    """Print the id of a public key."""
    print_json({"keyid": VerifyKey.load(public).keyid})
