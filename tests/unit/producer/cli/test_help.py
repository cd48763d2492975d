"""The help of commands: every option in its group, examples that are valid commands, and exit codes."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from producer.cli.commands import SECTIONS, trawl
from producer.cli.options import InGroups

GROUPED = sorted(name for name, command in trawl.commands.items() if isinstance(command, InGroups))


def help_of(name: str) -> str:
    return CliRunner().invoke(trawl, [name, "--help"], terminal_width=110).output


@pytest.mark.parametrize("name", GROUPED)
def test_every_option_is_shown_once(name: str) -> None:
    shown = re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", help_of(name), re.M)
    options = [param for param in trawl.commands[name].params if isinstance(param, click.Option)]

    assert sorted(shown) == sorted([*(max(param.opts, key=len) for param in options), "--help"])


@pytest.mark.parametrize("name", ["run", "enqueue"])
def test_no_option_of_a_long_command_is_without_a_group(name: str) -> None:
    text = help_of(name)

    assert len(re.findall(r"^\S.*:$", text, re.M)) >= 6
    assert text.partition("Options:\n")[2].partition("\n\n")[0].strip() == "-h, --help  Show this message and exit."


def test_every_command_is_in_one_section() -> None:
    assert sorted(command.name or "" for commands in SECTIONS.values() for command in commands) == sorted(
        trawl.commands
    )


def test_examples_are_valid_commands() -> None:
    texts = [CliRunner().invoke(trawl, ["--help"]).output, *(help_of(name) for name in trawl.commands)]
    examples = [line for text in texts for line in re.findall(r"\btrawl ([a-z]+ .*?)(?:   .*|`.*|\)?$)", text, re.M)]

    assert len(examples) > 10
    for example in examples:
        name, *arguments = shlex.split(example.partition(" && ")[0])
        options = {option for param in trawl.commands[name].params for option in param.opts}
        if name not in ("worker", "flower"):  # whose options are Celery's
            assert {each for each in arguments if each.startswith("--")} <= options, example
