"""The tables of tests/mutants name guards that exist; taking them out is ``python -m tests.mutants``."""

from __future__ import annotations

from tests.mutants.__main__ import guards
from tests.mutants.guard import ROOT


def test_each_guard_stands_once_where_the_tables_say() -> None:
    counts = {str(guard): (ROOT / guard.file).read_text("utf-8").count(guard.text) for guard in guards()}

    assert {guard: count for guard, count in counts.items() if count != 1} == {}
