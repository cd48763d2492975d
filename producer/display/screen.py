"""A job's status as lines that fit a terminal, the most important first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from contract.records.outcomes import ENDINGS
from producer.formatting import broken, cells, count, counted, duration, fit, one_line, seconds, size
from producer.job.status import HostCost, JobStatus, WorkerLine

Span = tuple[str, str]  # text, and a style of rich
Line = Sequence[Span]

_NARROW, _WIDE = 78, 100  # columns from which tables are shown side by side, and with bars
_ROOMY = 52  # columns from which the table of hosts shows mean times
_STYLES = dict(zip(ENDINGS, ("green", "cyan", "red", "yellow"), strict=True))
_BLOCKS = "▁▂▃▄▅▆▇█"
_PARTS = " ▏▎▍▌▋▊▉█"
_ERROR_ROWS, _WORKER_ROWS, _SENTENCE_ROWS = 4, 6, 4
_HELD_UP = "held up by  "


def screen(status: JobStatus, width: int, height: int, *, is_unicode: bool) -> list[Line]:
    """Return the lines that show a job within ``width`` columns and, if possible, ``height`` lines."""
    head = [
        _title(status, width),
        _bar(status, width, is_unicode=is_unicode),
        _rates(status, width, is_unicode=is_unicode),
        _counts(status, width),
    ]
    parts = [
        _tables(status, width, is_unicode=is_unicode),
        _paused(status, width),
        _workers(status, width),
        _batches(status, width),
    ]
    last = _hold_up(status, width)
    while parts and len(head) + sum(map(len, parts)) + len(last) >= height:
        parts.pop()
    return [*head, *(line for part in parts for line in part), *last]


def _title(status: JobStatus, width: int) -> Line:
    right = f"{status.state} {duration(status.elapsed)}"
    room = width - cells(right) - 2
    left = one_line(status.label or status.job)
    if status.label and cells(left) + len(status.job) + 2 <= room:
        left = f"{left}  {status.job}"
    return [(fit(left, room), "bold"), ("  " + right, "dim")]


def _bar(status: JobStatus, width: int, *, is_unicode: bool) -> Line:
    known = "" if status.known is None else f" of {count(status.known)}{'' if status.is_complete else '+'}"
    parts = [f"{count(status.done)}{known}"]
    if status.is_complete and status.known:
        parts.append(f"{100 * status.done // status.known}%")  # 100 % only when all are done
    if status.left is not None:
        parts.append(f"about {duration(status.left)} left")
    right = "  ".join(parts)
    room = width - len(right) - 2
    if room < 8:
        return [(fit(right, width).rstrip(), "")]
    share = status.done / status.known if status.known else 0.0
    done = min(room, int(room * share))
    full, empty = ("━", "─") if is_unicode else ("#", "-")
    return [(full * done, "cyan"), (empty * (room - done), "dim"), ("  " + right, "")]


def _rates(status: JobStatus, width: int, *, is_unicode: bool) -> Line:
    points = 20 if width >= _WIDE else 10 if width >= _NARROW else 6
    spans: list[Span] = [(f"{_or_dash(status.rate, count)} URLs/s ", "bold")]
    if is_unicode and status.rates:
        spans.append((_spark(status.rates[-points:]) + "  ", "cyan"))
    spans.append((f"{_or_dash(status.bytes_rate, size)}/s ", "bold"))
    if is_unicode and status.bytes_rates:
        spans.append((_spark(status.bytes_rates[-points:]) + "  ", "cyan"))
    spans.append((f"{size(status.fetched)} in all", ""))
    return _within(spans, width)


def _counts(status: JobStatus, width: int) -> Line:
    spans: list[Span] = []
    for ending in ENDINGS:
        number = status.counts.get(ending, 0)
        share = f" ({number / status.done:.1%})" if ending == "failed" and number and status.done else ""
        spans.append((f"{ending} {count(number)}{share}  ", _STYLES[ending] if number else "dim"))
    if status.flying:
        quiet = f", {count(status.quiet)} silent" if status.quiet else ""
        spans.append((f"in flight {count(status.flying)}{quiet}", ""))
    return _within(spans, width)


def _tables(status: JobStatus, width: int, *, is_unicode: bool) -> list[Line]:
    if width < _NARROW:
        tables = [_errors(status, width, is_unicode=False), _hosts(status, width)]
        return [line for table in tables for line in table]
    left_width = 44 if width >= _WIDE else 33
    left = _errors(status, left_width, is_unicode=is_unicode and width >= _WIDE)
    right = _hosts(status, width - left_width - 3 if left else width)
    if not left or not right:
        return left or right
    blank: Line = [(" " * left_width, "")]
    return [[*before, ("   ", ""), *after] for before, after in zip_longest(left, right, fillvalue=blank)]


def _errors(status: JobStatus, width: int, *, is_unicode: bool) -> list[Line]:
    if not status.errors:
        return []
    bar = 8 if is_unicode else 0
    name = width - 19 - bar
    lines: list[Line] = [[(f"{'why':<{name}}{'total':>9}{'last min':>10}{' ' * bar}", "dim")]]
    most = max(1, *(each.lately for each in status.errors))
    for each in status.errors[:_ERROR_ROWS]:
        spans: list[Span] = [(fit(each.error, name), "red"), (f"{count(each.total):>9}{count(each.lately):>10}", "")]
        if bar:
            spans.append((" " + _filled(each.lately / most, bar - 1), "red"))
        lines.append(spans)
    rest = status.errors[_ERROR_ROWS:]
    if rest:
        lately, total = sum(each.lately for each in rest), sum(each.total for each in rest)
        lines.append([(f"{'other':<{name}}{count(total):>9}{count(lately):>10}{' ' * bar}", "dim")])
    return lines


def _hosts(status: JobStatus, width: int) -> list[Line]:
    if not status.hosts:
        return []
    paused = {wait.host: wait.left for wait in status.waits}
    has_mean = width >= _ROOMY
    name = width - 21 - (8 if has_mean else 0)
    lines: list[Line] = [
        [(f"{fit('hosts that cost most', name)}{'URLs':>8}{'mean':>8}"[: name + 8 + 8 * has_mean].ljust(width), "dim")]
    ]
    for host in status.hosts:
        said, style = _of_host(host, paused)
        mean = f"{seconds(host.mean) if host.mean is not None else '-':>8}" if has_mean else ""
        lines.append([(f"{fit(host.host, name)}{count(host.urls):>8}{mean}", ""), (f"{said:>13}", style)])
    if status.more_hosts:
        lines.append([(fit(f"+ {count(status.more_hosts)} more", width), "dim")])
    return lines


def _of_host(host: HostCost, paused: dict[str, float]) -> Span:
    """Return the most important fact about a host."""
    left = paused.get(host.host)
    if left is not None:
        return f"waits {duration(left)}", "yellow"
    if host.silent:
        return f"{count(host.silent)} silent", "yellow"
    if host.failed:
        return f"{host.failed / host.urls:.0%} failed", "red"
    return "", ""


def _paused(status: JobStatus, width: int) -> list[Line]:
    """Name the paused hosts that are not in the table."""
    shown = {host.host for host in status.hosts}
    waits = [wait for wait in status.waits if wait.host not in shown]
    if not waits:
        return []
    named: list[str] = []
    for wait in waits[:3]:
        urls = f" ({counted(wait.urls, 'URL')})" if wait.urls else ""
        named.append(f"{fit(wait.host, 30).rstrip()} {duration(wait.left)}{urls}")
        if cells("paused      " + ", ".join(named)) > width - 16:
            break
    more = f" and {count(len(waits) - len(named))} more" if len(waits) > len(named) else ""
    return [[("paused      ", "dim"), (fit(", ".join(named) + more, width - 12).rstrip(), "yellow")]]


def _workers(status: JobStatus, width: int) -> list[Line]:
    workers = sorted(status.workers, key=lambda each: each.takes_work and not each.trouble and not _is_silent(each))
    if len(workers) < 2 and not any(each.trouble for each in workers):
        return []
    name = min(28, width - 32)
    lines: list[Line] = [[(fit("workers", name) + f"{'batches':>8}{'URLs':>8}{'URLs/s':>8}{'heard':>8}", "dim")]]
    for each in workers[:_WORKER_ROWS]:
        if each.trouble:
            style = "yellow" if each.takes_work else "red"
            lines.append([(fit(each.worker, name), style), (fit(" " + each.trouble, width - name).rstrip(), style)])
            continue
        heard = "-" if each.heard is None else f"{each.heard:.0f} s"
        known = [_or_dash(value, count) for value in (each.batches, each.urls, each.rate)]
        numbers = "".join(f"{value:>8}" for value in (*known, heard))
        lines.append([(fit(each.worker, name), ""), (numbers, "yellow" if _is_silent(each) else "")])
    if len(workers) > _WORKER_ROWS:
        lines.append([(f"+ {count(len(workers) - _WORKER_ROWS)} more", "dim")])
    return lines


def _is_silent(line: WorkerLine) -> bool:
    return line.heard is not None and line.heard >= 15


def _batches(status: JobStatus, width: int) -> list[Line]:
    parts = [
        ("waiting", status.waiting),
        ("with workers", status.running),
        ("deferred", status.deferred),
        ("to collect", status.undrained),
    ]
    said = [(f"{name} {count(number)}  ", "") for name, number in parts if number]
    return [_within([("batches     ", "dim"), *said], width)] if said else []


def _hold_up(status: JobStatus, width: int) -> list[Line]:
    sentence = status.hold_up.sentence
    if not sentence:
        return [[(_HELD_UP, "dim"), ("nothing", "green")]]
    lines = broken(sentence, width - len(_HELD_UP))[:_SENTENCE_ROWS]
    return [
        [(_HELD_UP if number == 0 else " " * len(_HELD_UP), "dim"), (line, "yellow")]
        for number, line in enumerate(lines)
    ]


# ---------------------------------------------------------------------------------------------------------- pieces


def _within(spans: Sequence[Span], width: int) -> Line:
    """Drop spans from the end until the rest fits."""
    kept: list[Span] = []
    left = width
    for text, style in spans:
        if cells(text.rstrip()) > left:
            break
        kept.append((text if cells(text) <= left else text.rstrip(), style))
        left -= cells(text)
    return kept


def _spark(values: Sequence[float]) -> str:
    most = max(values, default=0.0)
    return "".join(_BLOCKS[min(7, int(value / most * 7.999))] if most > 0 else _BLOCKS[0] for value in values)


def _filled(share: float, width: int) -> str:
    eighths = int(min(1.0, share) * width * 8)
    return ("█" * (eighths // 8) + _PARTS[eighths % 8]).ljust(width)[:width]


def _or_dash(value: float | None, write: Callable[[float], str]) -> str:
    return "-" if value is None else write(value)
