"""`make audit` reports what it looked up, and never reports clean what it could not look up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.project import ROOT
from tests.support.person import ran

CLEAN = {"name": "celery", "version": "5.7.0", "vulns": []}
KNOWN = {"name": "redis", "version": "8.1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["8.1.1"]}]}
SKIPPED = {"name": "pycurl", "skip_reason": "Dependency not found on PyPI and could not be audited: pycurl (7.49.0)"}


def audit(folder: Path, says: str) -> subprocess.CompletedProcess[str]:
    """Run the audit with a uv that says this."""
    stand_in = folder / "uv"
    (folder / "answer").write_text(says)
    stand_in.write_text(f"#!/bin/sh\nexec cat '{folder}/answer'\n")
    stand_in.chmod(0o755)
    return ran(sys.executable, ROOT / "requirements/audit.py", env={"PATH": f"{folder}:/usr/bin:/bin"})


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([CLEAN], 0, "1 of 1 packages looked up, 0 known vulnerabilities"),
        ([CLEAN, KNOWN], 1, "redis 8.1.0: PYSEC-1, mended in 8.1.1"),
        ([CLEAN, SKIPPED], 2, "NOT AUDITED: pycurl"),
        ([KNOWN, SKIPPED], 1, "NOT AUDITED: pycurl"),
        ([], 2, "0 of 0 packages looked up"),
    ],
)
def test_packages_not_looked_up_are_not_clean(
    tmp_path: Path, packages: list[dict[str, object]], code: int, words: str
) -> None:
    result = audit(tmp_path, json.dumps({"dependencies": packages}))

    assert result.returncode == code
    assert words in result.stdout + result.stderr


def test_a_database_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    result = audit(tmp_path, "")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("NOT AUDITED: the vulnerability database or pip-audit cannot be reached")


def test_without_uv_it_says_what_to_install(tmp_path: Path) -> None:
    result = ran(sys.executable, ROOT / "requirements/audit.py", env={"PATH": str(tmp_path)})

    assert (result.returncode, result.stderr) == (2, "The audit needs uv, which runs pip-audit: install it.\n")
