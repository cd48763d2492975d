"""The tables of tests/mutants name guards and tests that exist; ``python -m tests.mutants`` removes the guards."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import chosen_by, guards
from tests.mutants.guard import ROOT


def test_each_guard_is_found_exactly_once() -> None:
    counts = {str(guard): (ROOT / guard.file).read_text("utf-8").count(guard.text) for guard in guards()}

    assert {guard: count for guard, count in counts.items() if count != 1} == {}


def test_each_guard_names_tests_that_exist() -> None:
    """Without this, a row whose test was renamed would test nothing."""
    named = {argument for guard in guards() for argument in guard.tests if "::" in argument}
    missing = [
        each
        for each in named
        for path, _, name in [each.partition("[")[0].partition("::")]
        if f"def {name.rpartition('::')[2]}(" not in (ROOT / path).read_text("utf-8")
    ]

    assert missing == []


@pytest.mark.parametrize("words", [[], ["adapters/http"]])
def test_the_parts_of_a_run_add_up_to_it(words: list[str]) -> None:
    parts = [chosen_by([*words, f"{part}/3"]) for part in (1, 2, 3)]

    assert sorted(repr(guard) for part in parts for guard in part) == sorted(map(repr, chosen_by(words)))
