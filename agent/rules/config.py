"""One entry of the section ``rules`` and what becomes of it."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.rules.grammar import Expression, parse, tasks_possible
from agent.rules.machine import Timing
from agent.rules.rulebook import Rule, default_clear
from edgeops.contracts.alert import Severity
from edgeops.errors import ContractError
from edgeops.quantities import Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """A rule as the document writes it; ``for_`` is written ``for``.

    Attributes:
        pipeline: Name of the pipeline whose answers are judged.
        when, clear: Expressions, see ``agent.rules.grammar``; ``clear`` is ``not when`` by
            default.
        for_, clear_for: Evidence time for which they must hold.
        cooldown: After a raised alert no further one is raised for so long.
        missing: Without results for so long the rule is unknown.
        severity: How bad it is, for people.
        do: Names of actions.
    """

    pipeline: str
    when: str
    for_: Duration = Duration(0.0)
    clear: str | None = None
    clear_for: Duration = Duration(0.0)
    cooldown: Duration = Duration(0.0)
    missing: Duration | None = None
    severity: Severity = "medium"
    do: tuple[str, ...] = ()


def read_rule(name: str, options: RuleOptions, fault: Callable[[str, str], None]) -> Rule | None:
    """Return the rule with its expressions parsed, or note what is wrong with them.

    Args:
        name: Name of the rule.
        options: Its entry.
        fault: Takes the key (``when``, ``clear``) and the reason.
    """
    when = _parsed("when", options.when, fault)
    clear = None if options.clear is None else _parsed("clear", options.clear, fault)
    if when is None or (options.clear is not None and clear is None):
        return None
    return Rule(
        name=name,
        pipeline=options.pipeline,
        when=when,
        clear=clear or default_clear(when),
        timing=Timing(
            for_s=float(options.for_),
            clear_for_s=float(options.clear_for),
            cooldown_s=float(options.cooldown),
        ),
        missing_s=None if options.missing is None else float(options.missing),
        severity=options.severity,
        do=options.do,
    )


def _parsed(key: str, text: str, fault: Callable[[str, str], None]) -> Expression | None:
    try:
        expression = parse(text)
    except ContractError as error:
        fault(key, error.reason)
        return None
    if not tasks_possible(expression):
        fault(key, "no model can answer all of its functions")
        return None
    return expression
