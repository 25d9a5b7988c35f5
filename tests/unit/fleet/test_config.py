"""``fleet.yaml``: defaults, faults with lines, addresses that others reach."""

from pathlib import Path

import pytest

from edgeops.errors import ContractError, UsageError
from fleet.config import Address, FleetConfig, check, load


def written(tmp_path: Path, text: str) -> FleetConfig:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return load(path)


def test_an_empty_file_is_a_whole_configuration(tmp_path: Path) -> None:
    config = written(tmp_path, "")

    check(config)
    assert config.state() == tmp_path / "edgeops-fleet"
    assert config.broker.kind == "auto"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = written(tmp_path, "state_dir: s\ntrust: {release: [keys/r.pub]}\n")

    assert config.trust.release == (str(tmp_path / "keys/r.pub"),)


def test_the_environment_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEOPS_FLEET__BROKER__KIND", "builtin")

    assert written(tmp_path, "broker: {kind: mosquitto}").broker.kind == "builtin"


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        written(tmp_path, "api: {lissen: x}\nbroker: {kind: rabbit}\n")

    assert "line 1" in str(caught.value)
    assert "listen" in str(caught.value)
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize("part", ["api", "device_http", "broker"])
def test_addresses_that_others_reach_need_a_word(tmp_path: Path, part: str) -> None:
    remote = f"{part}: {{listen: '0.0.0.0:8000'}}\n"

    with pytest.raises(UsageError, match="TLS"):
        check(written(tmp_path, remote))
    check(written(tmp_path, remote + "allow_remote: true\n"))


def test_an_external_broker_needs_address_and_password(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="password_file"):
        check(written(tmp_path, "broker: {kind: external, address: 'b:1883'}"))


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:x", "host:70000", "a:-1"])
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(ContractError):
        Address.parse(text, what="api.listen")


def test_addresses_come_back_as_written() -> None:
    for text in ("127.0.0.1:80", "[::1]:80", "localhost:0"):
        address = Address.parse(text, what="x")
        assert str(address) == text
        assert address.loopback
