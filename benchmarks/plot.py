"""The plot: one panel of bars per row, drawn as SVG by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from benchmarks.corpora import Row
from benchmarks.rounds import Turn
from benchmarks.table import Cell, cells

_WIDTH, _NAMES, _BAR, _GAP, _PANEL = 760, 110, 16, 4, 34  # pixels
_OURS, _PEER, _LIMIT = "#0b6e4f", "#8aa1b1", "#d9c9a3"
_LIMITS = ("wrk", "cp")


def bars(rows: Sequence[Row], turns: Sequence[Turn], *, ours: Collection[str]) -> str:
    """Return an SVG with the median rate of every client on every row; each row has a scale of its own."""
    summed = cells({row.key: row for row in rows}, turns)
    parts: list[str] = []
    top = 10
    for row in rows:
        able = sorted((cell for cell in summed if cell.row == row.key and cell.turns), key=lambda cell: -cell.rate)
        # The server's own limit would dwarf the clients where nothing stores what it sends.
        longest = max((cell.rate for cell in able if cell.client not in _LIMITS), default=0.0)
        if not longest:
            continue
        parts.append(_text(10, top + 18, f"{row.key}: {row.title} ({row.unit})", bold=True))
        top += _PANEL - 8
        for cell in able:
            parts.append(_bar(cell, top, longest, ours))
            top += _BAR + _GAP
        top += _PANEL - 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#ffffff"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _bar(cell: Cell, top: int, longest: float, ours: Collection[str]) -> str:
    room = _WIDTH - _NAMES - 90
    is_cut = cell.rate > longest
    length = room * min(1.0, cell.rate / longest)
    colour = _OURS if cell.client in ours else _LIMIT if cell.client in _LIMITS else _PEER
    shown = f"{cell.rate:,.0f}{' (cut)' if is_cut else ''}"
    return (
        _text(_NAMES - 6, top + 12, cell.client, end=True)
        + f'<rect x="{_NAMES}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>'
        + _text(int(_NAMES + length + 5), top + 12, shown)
    )


def _text(x: int, y: int, text: str, *, bold: bool = False, end: bool = False) -> str:
    extra = (' font-weight="bold"' if bold else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x}" y="{y}" fill="#222222"{extra}>{escape(text)}</text>'
