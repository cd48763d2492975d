"""A report's page in a browser, if there is one: its charts are drawn under its own policy."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from producer.job_report.page import page_of
from tests.unit.producer.job_report.test_figures import fetched, figures_of

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.mark.parametrize(("rows", "charts"), [(40, 4), (1, 0)])
def test_a_browser_draws_the_charts_and_blocks_nothing(tmp_path: Path, rows: int, charts: int) -> None:
    page = tmp_path / "report.html"
    page.write_text(page_of(figures_of(*(fetched(at=index / 2, total=0.01) for index in range(rows))), "a job"))

    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    logged = [*options, "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    shown = subprocess.run([str(BROWSER), *logged], capture_output=True, text=True, timeout=120, check=True)

    assert len(re.findall("<canvas", shown.stdout)) == charts
    assert "CONSOLE" not in shown.stderr, "a policy that is broken, or a script that fails, is told there"
