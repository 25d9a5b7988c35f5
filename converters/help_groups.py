"""Help in groups for a command with many options, in plain text and without Rich."""

from typing import TYPE_CHECKING

from typer.core import TyperCommand, TyperOption

if TYPE_CHECKING:  # at run time older releases of Typer have these in a package of their own
    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter

_ARGUMENTS = "Arguments"
_OTHERS = "Others"


class GroupedCommand(TyperCommand):
    """A command whose help shows options below the name of their ``rich_help_panel``."""

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write arguments first, then each group in the order of the declaration."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            title = _ARGUMENTS
            if isinstance(parameter, TyperOption):
                title = parameter.rich_help_panel or _OTHERS
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(title, []).append(record)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)
