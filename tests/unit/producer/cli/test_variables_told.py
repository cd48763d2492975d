"""An invalid value of a variable is reported for the variable, not for the option it sets."""

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
def test_an_invalid_value_is_reported_for_its_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)

    code = exit_code(["run", "absent.txt"])

    said = capsys.readouterr().err
    assert code == 2, said
    assert variable in said
    assert "--" not in said.splitlines()[-1]


def test_an_invalid_option_is_reported_for_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAWL_LANES", "2")

    assert exit_code(["run", "absent.txt", "--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err


def test_a_mistyped_variable_is_reported_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAWL_LANE", "4")

    assert exit_code(["compare", "--help"]) == 0
    assert capsys.readouterr().err == "trawl: TRAWL_LANE is not a Trawlnet setting: did you mean TRAWL_LANES?\n"
