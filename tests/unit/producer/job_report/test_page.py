"""The page of a report: it loads nothing, runs nothing but its own scripts, and shows no secret."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files

from contract.records.outcomes import Ending
from producer.job_report.figures import Figures
from producer.job_report.page import BEGINNING, page_of
from producer.job_report.rows import Row
from tests.unit.producer.job_report.test_figures import fetched, figures_of

_MARKUP = "</script><script>alert(1)</script><b onclick=x>\u202e\x00"


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_the_page_s_own_style_and_scripts_and_nothing_else() -> None:
    page = page_of(figures_of(fetched(), fetched(at=9.0)), "a job")

    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)

    assert (len(scripts), len(style)) == (2, 1)
    allowed = f"style-src {hashed(style[0])}; script-src {' '.join(map(hashed, scripts))}"
    assert policy == [f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"]
    assert not re.findall(r'\s(?:style|src|href|on\w+)\s*=\s*"?', page.replace(scripts[0], "").replace(scripts[1], ""))


def test_foreign_markup_and_control_characters_stay_text() -> None:
    row = Row(url=f"http://{_MARKUP}/", outcome=Ending.FAILED, error=_MARKUP, detail=_MARKUP, name=_MARKUP)
    worker = fetched(_MARKUP, total=5.0)

    page = page_of(figures_of(row, worker), _MARKUP)

    assert page.count("<script>") == 2
    assert "onclick=x>" not in page
    assert "\u202e" not in page
    assert "\x00" not in page


def test_a_page_is_small_and_shows_no_url() -> None:
    figures = Figures()
    for index in range(5000):
        figures.add([fetched(f"user:c4n4ry@host-{index}.test", at=index, error="timeout" if index % 2 else None)])

    page = page_of(figures, "a job")

    assert page.startswith(BEGINNING)
    assert len(page.encode()) < 200_000
    assert "c4n4ry" not in page


def test_a_job_without_a_row_has_a_page() -> None:
    assert "no request was sent" in page_of(Figures(), "nothing")


def test_the_chart_library_is_the_published_one() -> None:
    folder = files("producer.job_report").joinpath("assets", "uplot")
    source = json.loads(folder.joinpath("source.json").read_text())

    found = {name: hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() for name in source["sha256"]}

    assert found == source["sha256"]
    assert set(found) == {"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"}
