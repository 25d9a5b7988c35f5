"""One agent's folder with a bundle and a short video."""

from pathlib import Path

import pytest

from tests.integration.test_agent_run.home import Home, write_color_bundle, write_video


@pytest.fixture(scope="session")
def color_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_color_bundle(tmp_path_factory.mktemp("models") / "color")


@pytest.fixture
def home(tmp_path: Path, color_bundle: Path) -> Home:
    (tmp_path / "bundle").symlink_to(color_bundle)
    write_video(
        tmp_path / "belt.avi",
        [("green", 3), ("red", 2), ("green", 3), ("red", 2), ("green", 3)],
    )
    made = Home(tmp_path)
    made.write_config()
    return made
