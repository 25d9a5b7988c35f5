"""The pages about recipes and targets are those of the classes and data files."""

from pathlib import Path

import pytest
import typer

from converters.cli import app
from converters.recipe import Recipe, load_recipe
from converters.targets import Target
from docs import configuration, conversion


def test_recipe_and_targets_pages_are_current() -> None:
    assert conversion.RECIPE_PAGE.read_text() == conversion.recipe_page(), (
        "run python -m docs.conversion"
    )
    assert conversion.TARGETS_PAGE.read_text() == conversion.targets_page(), (
        "run python -m docs.conversion"
    )


@pytest.mark.parametrize("kind", [Recipe, Target])
def test_every_key_has_a_meaning(kind: type) -> None:
    assert list(configuration.tables(kind))  # raises for a key that no docstring explains


def test_the_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(conversion.EXAMPLE)
    assert load_recipe(tmp_path / "recipe.yaml", {}).recipe.target == "raspberry-pi-4"


def test_every_flag_of_the_command_has_a_key_in_the_recipe() -> None:
    keys = conversion.flag_keys()
    command = typer.main.get_command(app)
    spelled = {name for option in command.params for name in option.opts}
    for flag in keys:
        assert conversion.spelled(flag) in spelled | {"MODEL"}
    assert keys["max_drop"] == "evaluation.max_drop"
    assert keys["to"] == keys["precision"] == "outputs"
