"""What ``edgeops fleet`` prints for people: figures flat and short, empty lists said."""

import pytest

from fleet import cli_common


def test_nested_figures_are_flat_and_short() -> None:
    spec = {
        "approval": False,
        "gate": {"max_failure_rate": 0.05, "min_n": 5},
        "selector": {"devices": [], "labels": {}},
        "stages": [{"count": 1, "soak": 600.0}, {"percent": 100.0, "soak": 600.0}],
        "bundle": "sha256:" + "a" * 64,
        "lower": 0.26986594878,
        "name": "",
    }

    assert cli_common.pairs(spec) == (
        "gate.max_failure_rate=0.05 gate.min_n=5"
        " stages=[count=1 soak=600; percent=100 soak=600]"
        " bundle=sha256:aaaaaaaaaaaa lower=0.2699"
    )


def test_an_empty_list_is_said_and_prints_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    cli_common.table(("device", "site"), [])

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "nothing to show\n"


def test_what_a_device_said_does_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli_common.table(("device", "site", "online"), [["\x1b[2Jcam", None, True]])

    assert capsys.readouterr().out == "?[2Jcam\t-\tyes\n"
