"""How commands speak: data on standard output, words on standard error."""

import sys
from typing import TYPE_CHECKING

from edgeops import codec

if TYPE_CHECKING:
    import typer


def new_app(text: str, *, single: bool = False) -> "typer.Typer":
    """Return a Typer application in our manner: plain help, our own handling of errors.

    Args:
        text: Help text; its first line appears in ``edgeops --help``.
        single: The application has one command, so no arguments may be right.
    """
    import typer  # noqa: PLC0415  # 50 ms that other importers of this module need not pay

    return typer.Typer(
        help=text,
        no_args_is_help=not single,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def print_json(value: object) -> None:
    """Print a contract or plain values as one line of JSON."""
    sys.stdout.write(codec.canonical(value).decode() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print words for people on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
