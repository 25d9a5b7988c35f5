"""Plots: axes with round ticks, and nothing drawn beyond them."""

import re

import pytest

from converters.report import plots


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_axes_hold_every_value_between_round_ticks(value: float) -> None:
    row = plots.Span("a", value, max(0.0, value - 0.004), min(1.0, value + 0.004), "t")

    drawn = plots.spans("t", [row], value - 0.01, percent=True)

    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    assert all(plots.LABEL <= place <= plots.WIDTH for place in places)
    ticks = re.findall(r'class="tick mid">([\d.]+) %', drawn)
    assert 2 <= len(ticks) <= 7
    assert len(set(ticks)) == len(ticks)


@pytest.mark.parametrize("value", [0.0, 0.333, 1.0])
def test_one_and_the_same_share_stands_on_a_true_axis(value: float) -> None:
    drawn = plots.dumbbells("t", [plots.Pair("a", value, value), plots.Pair("b", value, value)])

    ticks = [float(text) for text in re.findall(r'class="tick mid">([\d.]+) %', drawn)]
    assert len(ticks) >= 2
    assert 0 <= min(ticks) <= 100 * value <= max(ticks) <= 100
    (place,) = set(re.findall(r'cx="([\d.]+)"', drawn))
    share = (100 * value - min(ticks)) / (max(ticks) - min(ticks))
    assert float(place) == pytest.approx(
        plots.LABEL + share * (plots.WIDTH - 14 - plots.LABEL), abs=2.0
    )


def test_plots_without_rows_are_drawn_empty() -> None:
    for drawn in (
        plots.bars("t", []),
        plots.spans("t", [], None, percent=False),
        plots.dumbbells("t", []),
        plots.layer_chart("t", []),
        plots.heat_map("t", [], []),
    ):
        assert drawn.startswith("<svg")
