"""What is wrong with a variable is said of the variable, not of the option it stands for."""

import pytest

from producer.cli import exit_code


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRAWL_LANES", "abc"),
        ("TRAWL_TRANSFERS", "0"),
        ("TRAWL_DRAIN", "-1"),
        ("TRAWL_MIN_FREE", "much"),
        ("TRAWL_ALLOW_NETS", "here"),
        ("TRAWL_DENY_NETS", "10.0.0.0/99"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_by_the_variable_it_stands_in(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)

    code = exit_code(["run", "absent.txt"])

    said = capsys.readouterr().err
    assert code == 2, said
    assert variable in said
    assert "--" not in said.splitlines()[-1]


def test_an_options_own_value_is_told_by_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAWL_LANES", "2")

    assert exit_code(["run", "absent.txt", "--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err


def test_a_mistyped_variable_is_told_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAWL_LANE", "4")

    assert exit_code(["compare", "--help"]) == 0
    assert capsys.readouterr().err == "trawl: TRAWL_LANE is not a Trawlnet setting: did you mean TRAWL_LANES?\n"
