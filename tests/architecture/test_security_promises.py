"""Every promise of SECURITY.md names tests, and they exist."""

import ast
import re

import pytest

from tests.architecture.project import ROOT, document

NAMED = sorted(set(re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", document("SECURITY.md"))))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_named_by_a_promise_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text("utf-8"))

    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test() -> None:
    promised = document("SECURITY.md").partition("## What is promised")[2].partition("## What is not promised")[0]
    rows = [row for row in promised.splitlines() if row.startswith("| ") and not row.startswith("| Promise")]

    assert [row for row in rows if "::test_" not in row] == []
    assert len(rows) > 20
