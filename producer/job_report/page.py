"""The report as one self-contained page, which may load nothing (Content Security Policy Level 3)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from contract.records.outcomes import ENDINGS
from producer.formatting import count, duration, one_line, seconds, size
from producer.job_report.figures import ErrorFigures, Example, Figures, HostFigures, Slow
from producer.job_report.rows import PHASES

#: The start of every report page; no other file is ever replaced by one.
BEGINNING = "<!doctype html>\n<!-- Trawlnet report -->\n"

_SHOWN_HOSTS = 100
_SHOWN_WORKERS = 50
_SHOWN_STATUSES = 8
_MINUTES_FROM = 120.0  # seconds


def page_of(figures: Figures, title: str) -> str:
    """Return the page; ``title`` says which job it is."""
    style = _asset("uplot/uPlot.min.css") + _asset("page.css")
    charts, script = _asset("uplot/uPlot.iife.min.js"), _asset("page.js")
    return BEGINNING + Template(_asset("page.html")).substitute(
        policy=_policy(style, charts, script),
        title=_text(title),
        style=style,
        when=_when(figures),
        tiles="".join(_tile(*tile) for tile in _tiles(figures)),
        endings=_bar([(name, _fraction(figures.endings[name], figures.rows)) for name in ENDINGS]),
        unstored=count(figures.rows - figures.endings["ok"] - figures.endings["kept"]),
        errors=_errors(figures) or "<p class=dim>None.</p>",
        phases="".join(_phase(figures, name) for name in figures.phases),
        workers="".join(_worker(name, urls, figures) for name, urls in figures.workers.most_common(_SHOWN_WORKERS)),
        shown_hosts=count(min(figures.host_count, _SHOWN_HOSTS)),
        all_hosts=count(figures.host_count),
        hosts="".join(_host(host) for host in figures.hosts(_SHOWN_HOSTS)),
        slowest=_slowest(figures.slowest()) or "<p class=dim>No request was sent.</p>",
        data=json.dumps(_rounded(figures), separators=(",", ":")),
        charts=charts,
        script=script,
    )


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", *name.split("/")).read_text("utf-8")


def _policy(style: str, *scripts: str) -> str:
    allowed = " ".join(_hash(script) for script in scripts)
    return f"default-src 'none'; style-src {_hash(style)}; script-src {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    """Return untrusted text without markup or characters that affect how the rest is shown."""
    return escape(one_line(text))


# ------------------------------------------------------------------------------------------------------- the head


def _when(figures: Figures) -> str:
    if not figures.fetched:
        return "no request was sent"
    first, last = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}" for at in (figures.first, figures.last))
    return f"{first} to {last} UTC"


def _tiles(figures: Figures) -> Iterable[tuple[str, str, str]]:
    endings, rows = figures.endings, figures.rows
    stored = endings["ok"] + endings["kept"]
    yield "outcomes", count(rows), _unreadable(figures)
    yield "stored", _percent(stored, rows), f"{count(endings['ok'])} ok, {count(endings['kept'])} kept"
    yield "failed", count(endings["failed"]), f"{count(endings['refused'])} refused"
    yield "fetched", size(figures.bytes), _per_second(size(figures.bytes / figures.wall) if figures.wall else None)
    yield "time", _long(figures.wall), f"{_rate(figures)} URLs/s"
    yield "one after another", _long(figures.requests), "at most: all requests added up"
    yield "tried again", count(figures.retried), "URLs"


def _long(time: float) -> str:
    return seconds(time) if time < _MINUTES_FROM else duration(time)


def _unreadable(figures: Figures) -> str:
    return f"unreadable lines: {count(figures.unreadable)}" if figures.unreadable else "rows of the manifest"


def _rate(figures: Figures) -> str:
    return count(figures.fetched / figures.wall) if figures.wall else "-"


def _per_second(amount: str | None) -> str:
    return f"{amount}/s" if amount else "-"


def _tile(name: str, value: str, note: str) -> str:
    return f"<div class=tile><span>{name}</span><b>{value}</b><span>{note}</span></div>"


# ---------------------------------------------------------------------------------------------------- the tables


def _errors(figures: Figures) -> str:
    errors = figures.errors_by_count()
    most = max((error.count for error in errors.values()), default=1)
    return "".join(_error(name, error, most, figures.rows) for name, error in errors.items())


def _error(name: str, error: ErrorFigures, most: int, rows: int) -> str:
    statuses = ", ".join(f"{status} ({count(times)})" for status, times in error.statuses.most_common(_SHOWN_STATUSES))
    examples = "".join(_example(example) for example in error.examples)
    return (
        f"<details><summary><b>{_text(name)}</b>{_bar([('failed', error.count / most)])}"
        f"<span class=num>{count(error.count)}</span><span class=num>{_percent(error.count, rows)}</span></summary>"
        f"{f'<p>HTTP status: {statuses}</p>' if statuses else ''}<ul>{examples}</ul></details>"
    )


def _example(example: Example) -> str:
    where = f"<code>{_text(example.host)}</code> " if example.host else ""
    return f"<li>{where}<code class=dim>{_text(example.name)}</code> {_text(example.detail)}</li>"


def _phase(figures: Figures, name: str) -> str:
    histogram = figures.phases[name]
    cells = "".join(f"<td>{seconds(histogram.percentile(fraction))}</td>" for fraction in (0.5, 0.9, 0.95, 0.99, 1.0))
    return f"<tr><th>{name}</th>{cells}</tr>"


def _worker(name: str, urls: int, figures: Figures) -> str:
    return f"<tr><th>{_text(name)}</th><td>{count(urls)}</td><td>{_percent(urls, figures.fetched)}</td></tr>"


def _host(host: HostFigures) -> str:
    mean = host.seconds / host.urls
    cells = (
        (host.urls, count(host.urls)),
        (host.unstored, count(host.unstored)),
        (host.bytes, size(host.bytes)),
        (mean, seconds(mean)),
        (host.longest, seconds(host.longest)),
    )
    shown = "".join(f'<td data-value="{value:.6g}">{text}</td>' for value, text in cells)
    return f"<tr><th>{_text(host.name)}</th>{shown}</tr>"


def _slowest(slowest: Sequence[Slow]) -> str:
    return "".join(_slow(slow, slowest[0].total) for slow in slowest)


def _slow(slow: Slow, most: float) -> str:
    parts = [("before", _fraction(slow.before, most))]
    parts += [(name, _fraction(value, most)) for name, value in zip(PHASES, slow.phases, strict=True)]
    tries = f", {count(slow.attempts)} attempts" if slow.attempts > 1 else ""
    return (
        f"<div class=slow><span><code>{_text(slow.host)}</code> <code class=dim>{_text(slow.name)}</code></span>"
        f"{_bar(parts)}<span class=num>{seconds(slow.total)}</span>"
        f"<span class=dim>{_text(slow.ending)}{tries}</span></div>"
    )


def _bar(parts: Iterable[tuple[str, float]]) -> str:
    """Draw fractions (0 to 1) side by side, in SVG: it needs no inline style, which the policy would refuse."""
    drawn, at = [], 0.0
    for name, fraction in parts:
        if fraction > 0:
            drawn.append(f'<rect class={name} x="{at * 100:.2f}" width="{fraction * 100:.2f}" height="1"/>')
            at += fraction
    return f'<svg class=bar viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden=true>{"".join(drawn)}</svg>'


def _fraction(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _rounded(figures: Figures) -> dict[str, list[float | None]]:
    """Return the columns of the charts with as many digits as are visible; times to the millisecond."""
    columns = figures.timeline.columns()
    times = [None if at is None else round(at, 3) for at in columns.pop("time")]
    return {"time": times, **{name: [_short(value) for value in values] for name, values in columns.items()}}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
