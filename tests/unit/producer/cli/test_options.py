"""Options become a job's policy, or end the command in one sentence."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from contract.records.policy import JobPolicy
from producer.cli.commands import trawl
from producer.cli.options import policy_options
from producer.cli.translation import policy_of
from producer.job.fingerprint import options_of


def _given(*words: str) -> tuple[list[JobPolicy], str]:
    """Return the policy of a command line, or none, and what was said."""
    found: list[JobPolicy] = []

    @click.command()
    @policy_options
    def command(**options: object) -> None:
        found.append(policy_of(options))

    return found, CliRunner().invoke(command, words).output


def test_commands_and_scripts_have_the_same_default_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRAWL_ALLOW_NETS", "TRAWL_DENY_NETS"):
        monkeypatch.delenv(name, raising=False)

    assert _given()[0] == [JobPolicy()]


def test_changed_options_are_reported_by_their_names() -> None:
    """Guards the names of options that differ from an unfinished job's: users know options, not our fields."""
    words = {
        "--allow-net": "10.0.0.0/8", "--deny-net": "11.0.0.0/8", "--ipv4": None, "--http3": None, "--user-agent": "me",
        "--timeout": "7", "--first-byte-timeout": "7", "--min-speed": "7", "--min-speed-window": "7", "--attempts": "7",
        "--per-host": "7", "--host-patience": "7", "--splits": "7", "--max-size": "7", "--layout": "sharded",
        "--digest": "none", "--sync": "none", "--resume": None,
    }  # fmt: skip

    told = {option: _given(option, *([value] if value else []))[0] for option, value in words.items()}

    assert {option: [f"--{name}" for name in options_of(policy)] for option, (policy,) in told.items()} == {
        option: [option] for option in words
    }
    options = {param.opts[-1] for param in click.command()(policy_options(lambda: None)).params}
    assert options == words.keys() | {"--header", "--netrc"}, "those are no part of a policy"


@pytest.mark.parametrize("option", ["--timeout", "--first-byte-timeout", "--min-speed-window", "--host-patience"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "soon"])
def test_a_time_that_is_not_finite_is_refused(option: str, value: str) -> None:
    """Guards ``isfinite``: JSON cannot express it."""
    found, said = _given(option, value)

    assert found == []
    assert f"Invalid value for '{option}'" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run list --drain inf", "Invalid value for '--drain': 'inf' is not a number of seconds"),
        ("run list --host-patience nan", "Invalid value for '--host-patience': 'nan' is not a number of seconds"),
        ("gc --older-than nan", "Invalid value for '--older-than': 'nan' is not a number of days"),
        ("run list -o ", "Invalid value for '-o' / '--output': it is empty; is a variable unset?"),
        ("follow job --output ", "Invalid value for '-o' / '--output': it is empty"),
        ("demo -o ", "Invalid value for '-o' / '--output': it is empty"),
        ("doctor -o ", "Invalid value for '-o' / '--output': it is empty"),
        ("gc -o ", "Invalid value for '-o' / '--output': it is empty"),
        ("run list --manifest ", "Invalid value for '--manifest': it is empty"),
        ("enqueue list --netrc ", "Invalid value for '--netrc': it is empty"),
    ],
)
def test_unusable_values_are_refused_by_the_command(words: str, said: str) -> None:
    """Guards Place and Seconds: an unset variable meant the current folder, and only the worker refused a drain."""
    result = CliRunner().invoke(trawl, words.split(" "))

    assert result.exit_code == 2
    assert said in result.output
