"""The ``edgeops`` command: finds sub-commands, maps errors to exit statuses.

Sub-commands are found by entry point and imported when called, so this module imports no program
and a device without the converters still gets a working ``edgeops``. Data goes to standard
output, words for people to standard error.

Exit status: 0 done, 1 a check or a demo step failed, 2 usage, 65 bad document, 69 missing extra,
70 could not convert or illegal step, 74 cannot read or write, 75 unreachable, 77 not trusted.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from edgeops import __version__
from edgeops.errors import EdgeOpsError, MissingExtraError

if TYPE_CHECKING:
    import typer

GROUP: Final = "edgeops.commands"
OURS: Final = frozenset({"edgeops", "converters", "agent", "fleet", "firmware_images"})
INTERRUPTED: Final = 130

_USAGE: Final = """usage: edgeops [-v|-vv] [--version] COMMAND …

Takes trained models to fleets of small devices and keeps them honest there.

commands:
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; every deliberate error ends as one line and a status."""
    words = list(sys.argv[1:] if argv is None else argv)
    verbosity = 0
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in {"-v", "-vv", "--verbose"}:
            verbosity += 2 if option == "-vv" else 1
        elif option == "--version":
            print(f"edgeops {__version__}")
            return 0
        elif option in {"-h", "--help"}:
            print(_help(), end="")
            return 0
        else:
            print(f"edgeops: no such option {option!r}; see edgeops --help", file=sys.stderr)
            return 2
    if not words:
        print(_help(), end="", file=sys.stderr)
        return 2
    found = _commands()
    if words[0] not in found:
        return _unknown(words[0], sorted(found))
    return _run(found[words[0]], words[1:], verbosity)


def _run(point: EntryPoint, words: list[str], verbosity: int) -> int:
    from edgeops import logs  # noqa: PLC0415  # ``--help`` need not pay for logging

    logs.set_up(verbosity)
    try:
        app = cast("typer.Typer", point.load())
        app(args=words, prog_name=f"edgeops {point.name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS:
            raise  # our own bug: let the traceback through
        return _say(MissingExtraError(point.name, error.name))
    except EdgeOpsError as error:
        return _say(error)
    except KeyboardInterrupt:
        print("edgeops: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (such as ``head``) has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0
    return 0


def _commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _help() -> str:
    lines = [f"  {name:<11}{_summary(point)}\n" for name, point in sorted(_commands().items())]
    return _USAGE + "".join(lines) + "\nedgeops COMMAND --help tells more.\n"


def _summary(point: EntryPoint) -> str:
    """Return the first sentence of a command module's docstring, without importing the module.

    The first line of every command module is its name in double back-quotes, a colon, and the
    sentence that is wanted.
    """
    spec = find_spec(point.module)
    if spec is None or spec.origin is None:
        return f"(the module {point.module!r} is not installed)"
    with Path(spec.origin).open(encoding="utf-8") as file:
        line = file.readline()
    text = line.strip().strip('"').rpartition("``: ")[2]
    return text[:1].upper() + text[1:]


def _unknown(word: str, known: list[str]) -> int:
    import difflib  # noqa: PLC0415  # only for this answer

    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"commands are {', '.join(known)}"
    print(f"edgeops: no such command {word!r}; {hint}", file=sys.stderr)
    return 2


def _say(error: EdgeOpsError) -> int:
    # One line, and what a foreign file wrote must not steer the terminal.
    sentence = " ".join(str(error).split())
    shown = "".join(char if char.isprintable() else "?" for char in sentence)
    print(f"edgeops: {error.code}: {shown}", file=sys.stderr)
    return error.exit_status


if __name__ == "__main__":
    raise SystemExit(main())
