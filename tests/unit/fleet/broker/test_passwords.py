"""Passwords are read and written as mosquitto_passwd reads and writes them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeops.errors import ContractError, EdgeOpsError
from fleet.broker.accounts import write_accounts
from fleet.broker.passwords import PasswordHash, hash_password, parse_passwords


def test_only_the_right_password_of_a_known_user_is_accepted() -> None:
    file = parse_passwords(f"# people\n\nanna:{hash_password('sesame')}\n", "passwd")

    assert file.accepts("anna", b"sesame")
    assert not file.accepts("anna", b"Sesame")
    assert not file.accepts("anna", b"")
    assert not file.accepts("otto", b"sesame")


def test_every_hash_has_its_own_salt() -> None:
    assert hash_password("sesame") != hash_password("sesame")


@pytest.mark.mosquitto
@pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="no mosquitto_passwd here")
def test_hashes_of_mosquittos_own_program_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", path, "anna", "sésame"],
        check=True,
        capture_output=True,
        timeout=10,
    )

    file = parse_passwords(path.read_text(), str(path))

    assert file.accepts("anna", "sésame".encode())
    assert not file.accepts("anna", b"sesame")
    written, own = path.read_text().strip().split(":")[1], hash_password("sésame")
    assert written.split("$")[:3] == own.split("$")[:3]
    assert [len(part) for part in written.split("$")] == [len(part) for part in own.split("$")]


@pytest.mark.parametrize(
    "line",
    [
        "anna",
        ":$7$101$c2FsdA==$a2V5",
        "anna:sesame",
        "anna:$6$c2FsdA==$a2V5",
        "anna:$7$x$c2FsdA==$a2V5",
        "anna:$7$0$c2FsdA==$a2V5",
        "anna:$7$9999999$c2FsdA==$a2V5",
        "anna:$7$101$!$a2V5",
        "anna:$7$101$c2FsdA==$a2V5",
    ],
)
def test_damaged_lines_are_named(line: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_passwords("\n" + line, "passwd")

    assert caught.value.path == "passwd:2"


def test_a_user_named_twice_is_refused() -> None:
    line = f"anna:{hash_password('sesame')}\n"

    with pytest.raises(ContractError, match="twice"):
        parse_passwords(line + line, "passwd")


def test_a_hash_does_not_show_its_secret_parts() -> None:
    assert repr(PasswordHash.parse(hash_password("sesame"))) == "PasswordHash(iterations=101)"


def test_accounts_are_written_for_the_owner_alone(tmp_path: Path) -> None:
    users = {"fleet": hash_password("one"), "d1": hash_password("two")}

    accounts = write_accounts(tmp_path / "new", users, "acme", "fleet")

    assert accounts.passwd.stat().st_mode & 0o777 == 0o600
    assert accounts.acl.stat().st_mode & 0o777 == 0o600
    assert parse_passwords(accounts.passwd.read_text(), "p").accepts("d1", b"two")


@pytest.mark.parametrize(
    ("users", "tenant"),
    [
        ({"d1": hash_password("x")}, "acme"),  # no service user
        ({"fleet": hash_password("x"), "d/1": hash_password("x")}, "acme"),
        ({"fleet": hash_password("x"), "d1\n": hash_password("x")}, "acme"),
        ({"fleet": "x\nroot:y"}, "acme"),
        ({"fleet": hash_password("x")}, "+"),
    ],
)
def test_accounts_that_could_widen_access_are_not_written(
    tmp_path: Path, users: dict[str, str], tenant: str
) -> None:
    with pytest.raises(EdgeOpsError):
        write_accounts(tmp_path, users, tenant, "fleet")

    assert list(tmp_path.iterdir()) == []
