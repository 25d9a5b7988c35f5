"""``edgeops bundle``: packs, unpacks, verifies, signs and shows bundles."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from edgeops import bundle as bundles
from edgeops.codec import plain
from edgeops.console import new_app, print_json, say
from edgeops.errors import UsageError
from edgeops.trust import SigningKey, TrustStore

app = new_app("Pack, unpack, verify, sign and show bundles.")

Source = Annotated[Path, typer.Argument(help="A bundle folder or .edgeops file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="A bundle folder.")],
    out: Annotated[Path | None, typer.Option(help="Target; default NAME-VERSION.edgeops.")] = None,
    json: Json = False,
) -> None:
    """Write a bundle folder as one file; the same bundle gives the same bytes."""
    bundle = bundles.open_folder(folder)
    bundles.verify(bundle, None)
    manifest = bundle.manifest
    target = out or Path(f"{manifest.name}-{manifest.version}{bundles.SUFFIX}")
    if target.is_dir():
        raise UsageError(f"{target} is a folder; --out names the new file")
    bundles.pack(bundle, target)
    if json:
        print_json({"file": str(target), "digest": bundle.digest})
    else:
        say(f"{target}: {bundle.title} {bundle.digest}")


@app.command()
def unpack(
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder.")],
) -> None:
    """Unpack an .edgeops file, checking every name and digest."""
    if out.exists():
        raise UsageError(f"{out} exists already")
    if source.is_dir():
        raise UsageError(f"{source} is a bundle folder already; unpack takes an .edgeops file")
    bundle = bundles.unpack(source, out)
    say(f"{out}: {bundle.title} {bundle.digest}")


@app.command()
def verify(
    source: Source,
    trust: Annotated[
        list[Path] | None, typer.Option(help="Public release key to trust; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """Check digests, and with --trust the release signature; ends with 0, 65, 74 or 77."""
    store = TrustStore.load(release=trust) if trust else None
    with tempfile.TemporaryDirectory() as work, bundles.opened(source, Path(work)) as bundle:
        keyid = bundles.verify(bundle, store)
        if json:
            print_json({"digest": bundle.digest, "keyid": keyid or None, "trusted": bool(keyid)})
        else:
            by = f"signed by release key {keyid}" if keyid else "signature not checked (no --trust)"
            say(f"{bundle.title} {bundle.digest}: every file is whole; {by}")


@app.command()
def sign(
    folder: Annotated[Path, typer.Argument(help="A bundle folder.")],
    key: Annotated[Path, typer.Option(help="Private release key.")],
) -> None:
    """Add a release signature."""
    bundle = bundles.open_folder(folder)
    bundles.verify(bundle, None)
    signed = bundles.sign(bundle, SigningKey.load(key))
    say(f"{signed.title} {signed.digest}: {len(signed.signatures)} signature(s)")


@app.command()
def show(source: Source) -> None:
    """Print the manifest as JSON."""
    with tempfile.TemporaryDirectory() as work, bundles.opened(source, Path(work)) as bundle:
        print_json(
            {
                "digest": bundle.digest,
                "signatures": [signature.keyid for signature in bundle.signatures],
                "manifest": plain(bundle.manifest),
            }
        )
