"""The documents cover everything a user can set or type, and name nothing that does not exist."""

import re
from pathlib import Path

import click
from click.testing import CliRunner

from contract.records.outcomes import ErrorClass
from producer.cli.commands import trawl
from producer.cli.exits import BAD_USAGE, BUG, INTERRUPTED, MISCOUNTED
from tests.architecture.project import PRODUCT, ROOT, document, documents, modules

VARIABLE = re.compile(r"\bTRAWL_[A-Z0-9_]*[A-Z0-9]\b")


def test_the_documents_name_no_variable_that_does_not_exist() -> None:
    assert set(VARIABLE.findall(documents())) - variables_in_code() - variables_of_containers() == set()


def variables_in_code() -> set[str]:
    return {name for module in modules(*PRODUCT) for name in VARIABLE.findall((ROOT / module).read_text("utf-8"))}


def variables_of_containers() -> set[str]:
    files = [ROOT / "docker-compose.yml", *(path for path in (ROOT / "deploy").rglob("*") if path.is_file())]
    return {name for path in files for name in VARIABLE.findall(path.read_text("utf-8"))}


def test_every_command_is_in_the_documents() -> None:
    text = documents()

    missing = [name for name in command_names(trawl) if not re.search(rf"\btrawl {re.escape(name)}\b", text)]

    assert missing == []


def test_every_error_class_has_a_row_in_troubleshooting() -> None:
    rows = [line.split("|")[1] for line in document("docs/troubleshooting.md").splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"`([a-z0-9-]+)`", row)}

    assert {str(error) for error in ErrorClass} - named == set()


def test_the_help_describes_the_real_exit_codes() -> None:
    said = CliRunner().invoke(trawl, ["--help"]).output

    for code in (0, 1, BAD_USAGE, MISCOUNTED, BUG, INTERRUPTED):
        assert re.search(rf"^ +(.* )?{code}  ", said, re.M), code


def test_commands_in_documents_work_in_a_fresh_clone() -> None:
    """There, `trawl` and `celery` are on no PATH, and the system's Python has none of our packages."""
    fences = re.findall(r"```[a-z]*\n(.*?)```", document("CONTRIBUTING.md") + documents(), re.S)
    lines = [line for fence in fences for line in fence.splitlines()]

    assert len(lines) > 100
    assert [line for line in lines if re.search(r"(?:^|[;&|(]\s*|\$\s+)(?:trawl|celery|python3?) ", line)] == []


def test_the_glossary_has_one_row_per_word() -> None:
    """It is merged by union, which keeps both sides of a row that two have changed."""
    words = [word for word, _ in glossary()]

    assert len(words) > 60
    assert words == sorted(set(words)), "in alphabetical order, each once"


def test_the_glossary_names_files_that_exist() -> None:
    gone = [(word, file) for word, files in glossary() for file in files if not (ROOT / file).exists()]

    assert gone == []


def glossary() -> list[tuple[str, list[str]]]:
    """Return each word with the files that its row names last."""
    rows = re.findall(r"^\| \*\*(.*?)\*\* \|.*\|(.*)\|$", document("docs/glossary.md"), re.M)
    return [(word, re.findall(r"`([^`]+)`", files)) for word, files in rows]


def test_links_between_documents_work() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks/README.md"]

    for page in pages:
        for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page.name}: {target}"
            if heading:
                assert heading in headings(linked), f"{page.name}: {target}#{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    found = re.findall(r"^#+ (.*)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_command_has_a_description() -> None:
    for arguments in (["--version"], ["--help"], *([*name.split(), "--help"] for name in command_names(trawl))):
        result = CliRunner().invoke(trawl, arguments)

        assert result.exit_code == 0, result.output
        assert len(result.output) > 10


def command_names(group: click.Command, prefix: str = "") -> list[str]:
    """Return the full names of a group's visible commands."""
    if not isinstance(group, click.Group):
        return [prefix.strip()]
    visible = [(name, command) for name, command in group.commands.items() if not command.hidden]
    return [each for name, command in visible for each in command_names(command, f"{prefix} {name}")]
