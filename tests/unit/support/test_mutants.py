"""The tables of tests/mutants name guards that exist; taking them out is ``python -m tests.mutants``."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import chosen_by, guards
from tests.mutants.guard import ROOT


def test_each_guard_stands_once_where_the_tables_say() -> None:
    counts = {str(guard): (ROOT / guard.file).read_text("utf-8").count(guard.text) for guard in guards()}

    assert {guard: count for guard, count in counts.items() if count != 1} == {}


@pytest.mark.parametrize("words", [[], ["adapters/http"]])
def test_the_parts_of_a_run_are_all_of_it(words: list[str]) -> None:
    parts = [chosen_by([*words, f"{part}/3"]) for part in (1, 2, 3)]

    assert sorted(repr(guard) for part in parts for guard in part) == sorted(map(repr, chosen_by(words)))
