"""Configuration is strict: every fault at once, with its line and the nearest known key."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from edgeops import yamldoc
from edgeops.contracts.scalars import Name
from edgeops.errors import ContractError, StorageError
from edgeops.quantities import ByteSize, Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    when: str
    hold: Duration = Duration(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    rules: dict[str, Rule] = field(default_factory=dict)
    steps: tuple[Rule, ...] = ()
    few: Annotated[tuple[Rule, ...], Meta(max_length=2)] = ()
    limit: ByteSize | None = None
    level: Literal["low", "high"] | None = None
    name: Name = "a"
    on: bool = True
    site: str = ""


def parse(text: str) -> Config:
    return yamldoc.parse(text.encode(), Config, name="c.yaml")


def faults(text: str) -> list[str]:
    with pytest.raises(yamldoc.FaultyDocumentError) as caught:
        parse(text)
    return [str(fault) for fault in caught.value.faults]


def test_a_good_document_is_read_with_units() -> None:
    config = parse("rules:\n  a: {when: x, hold: 250ms}\nlimit: 2MB\nsteps:\n- when: y\n")
    assert config.rules["a"].hold == 0.25
    assert config.limit == 2_000_000
    assert config.steps == (Rule(when="y"),)


def test_an_empty_document_is_all_defaults() -> None:
    assert parse("") == Config()


def test_all_faults_are_listed_with_line_and_nearest_key() -> None:
    found = faults(
        "rules:\n  a: {wen: x}\n  b: {when: 3}\nsitte: q\nlimit: big\nsteps: [{when: 1}]\n"
    )
    assert found == [
        "line 2: rules.a.wen: unknown key; did you mean 'when'?",
        "line 2: rules.a.when: is required and missing",
        "line 3: rules.b.when: Expected `str`, got `int`",
        "line 4: sitte: unknown key; did you mean 'site'?",
        "line 5: limit: Expected a size such as 256MB or 64KiB, got 'big'",
        "line 6: steps[0].when: Expected `str`, got `int`",
    ]


def test_a_list_with_limits_has_its_unknown_keys_refused_too() -> None:
    assert faults("few: [{when: x, holt: 1s}]\n") == [
        "line 1: few[0].holt: unknown key; did you mean 'hold'?"
    ]
    assert "length <= 2" in faults("few: [{when: x}, {when: y}, {when: z}]\n")[0]


def test_what_is_expected_is_said_in_words() -> None:
    assert faults("level: hihg\nname: A b\n") == [
        "line 1: level: is 'hihg', expected one of low, high; did you mean 'high'?",
        "line 2: name: Expected 1-63 small letters, digits or '-'",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("on: yes", "Expected `bool`, got `str`"),
        ("site: no", None),
        ("site: 12:30:00", None),
        ("site: 2026-01-01", None),
    ],
)
def test_yaml_1_2_words_stay_words(text: str, words: str | None) -> None:
    if words is None:
        assert parse(text).site == text.partition(": ")[2]
    else:
        assert words in faults(text)[0]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("site: a\nsite: b", "line 2: the key 'site' stands twice"),
        (BOMB, "aliases"),
        ("a: [", "is not YAML"),
        ("a: !!python/object/apply:os.system [x]", "tags (!name) are not read"),
        ("? [a, b]\n: c", "a key must be a word"),
        ("{" * 500, "not YAML"),
        ("a:" + " [" * 200 + "]" * 200, "nested too deeply"),
        ("- 1\n", "Expected a mapping, got a list"),
        ("just text", "Expected a mapping, got text"),
        ("site: a\n---\nsite: b\n", "is not YAML"),
        ("x: " + "y" * (1 << 20), "longer than"),
    ],
)
def test_hostile_documents_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(text)
    assert words in str(caught.value)


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(ContractError, match="UTF-8"):
        yamldoc.parse(b"\xff\xfe\x00", Config, name="c.yaml")


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        yamldoc.load(tmp_path / "none.yaml", Config)


def test_the_environment_lies_over_the_file() -> None:
    variables = {"EDGEOPS_X__SITE": "env", "EDGEOPS_X__RULES__A__WHEN": "z", "OTHER": "1"}
    overrides = yamldoc.environment("EDGEOPS_X", variables)
    config = yamldoc.parse(b"site: file", Config, name="c.yaml", overrides=overrides)
    assert (config.site, config.rules["a"].when) == ("env", "z")


def test_a_fault_that_a_flag_or_variable_gave_is_not_looked_for_in_the_file() -> None:
    overrides = {"site": "[1]", "rules.a.wen": "z"}
    with pytest.raises(yamldoc.FaultyDocumentError) as caught:
        yamldoc.parse(b"site: file\non: 3", Config, name="c.yaml", overrides=overrides)

    found = {fault.path: str(fault) for fault in caught.value.faults}
    assert found["site"].startswith("a flag or variable: site: ")
    assert found["rules.a.wen"].startswith("a flag or variable: rules.a.wen: unknown key")
    assert found["on"].startswith("line 2: on: ")


@pytest.mark.parametrize("text", ["-1s", "1 parsec", "s", "1e3s", "nan", ""])
def test_durations_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "value"), [("010", 10), ("09", 9), ("-07", -7), ("+5", 5), ("0o17", 15), ("0x1F", 31)]
)
def test_whole_numbers_are_read_as_yaml_1_2_means_them(text: str, value: int) -> None:
    assert yamldoc.plain(f"n: {text}\n".encode(), name="c.yaml") == {"n": value}
