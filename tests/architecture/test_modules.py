"""Every module opens with a sentence, is small enough to read, and is named by a noun of the glossary."""

import re
from pathlib import Path

import pytest

from tests.architecture.project import PACKAGES, PRODUCT, ROOT, docstring, modules

LONGEST = 500  # lines of a module of the product; from 400 on, ask whether it is one story
LONGEST_TEST = 900  # lines; a suite may list many cases of one thing
#: Words that say where code was put down, not what it is.
EMPTY_WORDS = {
    "utils", "util", "helpers", "helper", "common", "manager", "managers", "data", "info", "misc", "core", "base",
}  # fmt: skip
SENTENCE = re.compile(r"\S+ \S+ \S.*[^.]\.", re.DOTALL)


def test_every_module_opens_with_one_sentence() -> None:
    silent = [str(module) for module in modules(*PACKAGES) if not opens_with_sentence(docstring(module))]

    assert silent == [], "the first statement of a module is a docstring whose first paragraph is a sentence"


def opens_with_sentence(text: str) -> bool:
    first = text.partition("\n\n")[0]
    return SENTENCE.fullmatch(first) is not None and first.count("\n") < 3


@pytest.mark.parametrize("text", ["", "Helpers.", "Has no full stop", "Ends in so many dots..."])
def test_a_docstring_that_is_not_a_sentence_is_noticed(text: str) -> None:
    assert not opens_with_sentence(text)


@pytest.mark.parametrize(("folders", "longest"), [(PRODUCT, LONGEST), (("tests", "benchmarks"), LONGEST_TEST)])
def test_no_module_is_too_long(folders: tuple[str, ...], longest: int) -> None:
    lengths = {str(module): len((ROOT / module).read_text("utf-8").splitlines()) for module in modules(*folders)}

    assert {name: lines for name, lines in lengths.items() if lines > longest} == {}


def test_no_module_or_package_has_a_meaningless_name() -> None:
    empty = [str(path) for path in modules(*PACKAGES) if EMPTY_WORDS & words_of(path)]

    assert empty == []


def words_of(path: Path) -> set[str]:
    return {word for part in path.with_suffix("").parts for word in part.split("_")}
