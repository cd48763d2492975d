"""A job's summary, as text and as JSON, and the check that its sums agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.errors import AccountingError
from contract.records.outcomes import ENDINGS
from producer.formatting import count, counted, labelled, seconds, size
from producer.job.tally import Tally

_SHOWN_HOSTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A job's results so far. ``totals`` counts lines, urls, refused, duplicates; ``places`` has paths of its files.

    For a cancelled job, ``totals`` may have ``not_read``, the lines that were not read: -1 if unknown.
    """

    job: str
    tally: Tally
    totals: Mapping[str, int]
    is_finished: bool
    is_cancelled: bool = False
    places: Mapping[str, str]
    next: str = ""  # what running the same command again would do
    wall: float = 0.0  # seconds this command took

    def check(self, rows: int | None = None) -> None:
        """Make sure that every line has exactly one outcome; ``rows`` is the number of rows in the manifest itself.

        Raises:
            AccountingError: the sums differ; the sentence shows them.
        """
        lines, outcomes = self.totals["lines"], self.tally.rows + self.totals["duplicates"]
        if lines != outcomes:
            raise AccountingError(f"The outcomes do not add up: {self.identity}. Please report this as a bug.")
        if rows is not None and rows != self.tally.rows:
            raise AccountingError(
                f"The manifest has {counted(rows, 'row')}, not {count(self.tally.rows)}. Please report this as a bug."
            )

    @property
    def identity(self) -> str:
        counts = self.tally.counts
        duplicates = self.totals["duplicates"]
        parts = [*((ending, counts[ending]) for ending in ENDINGS)]
        parts.append(("duplicate" if duplicates == 1 else "duplicates", duplicates))
        if self.is_cancelled and self.not_read is not None:
            parts.append(("not read", self.not_read))
        end = "; more of the list was not read" if self.not_read is None else ""
        return (
            f"{counted(self.lines, 'line')} = " + " + ".join(f"{count(number)} {name}" for name, number in parts) + end
        )

    @property
    def not_read(self) -> int | None:
        """The number of lines that were never read; None: unknown, because the list is not a file."""
        number = self.totals.get("not_read", 0)
        return None if number < 0 else number

    @property
    def lines(self) -> int:
        """The number of lines of the list, as far as known."""
        return self.totals["lines"] + (self.not_read or 0)

    @property
    def exit_code(self) -> int:
        """0: all stored; 1: some failed or were refused, or the job was cancelled."""
        return 1 if self.tally.counts["failed"] or self.tally.counts["refused"] or self.is_cancelled else 0

    def to_text(self, width: int | None = None) -> str:
        """Return the summary as lines; those longer than ``width`` are broken between words."""
        tally = self.tally
        elapsed = tally.elapsed
        fetched = tally.tried
        rows: list[tuple[str, str]] = [("job", self.job + self._state)]
        rows.append(("lines", self.identity) if self.is_finished else ("so far", self._so_far()))
        if tally.errors:
            by_count = sorted(tally.errors.items(), key=lambda item: (-item[1], item[0]))
            rows.append(("errors", ", ".join(f"{name} {count(number)}" for name, number in by_count)))
            rows += [("", f"{name}: {tally.examples[name]}") for name, _ in by_count if name in tally.examples]
        if fetched:
            pace = f"{counted(fetched, 'URL')} in {seconds(elapsed)}"
            pace += f", {count(fetched / elapsed)} URLs/s" if elapsed else ""
            pace += f"; {size(tally.fetched)} stored" if tally.fetched else ""
            pace += f", {size(tally.fetched / elapsed)}/s" if tally.fetched and elapsed else ""
            rows.append(("tried", pace))
            if len(tally.workers) > 1:
                rows.append(("workers", count(len(tally.workers))))
        if tally.counts["ok"]:
            of = f" of the {count(tally.counts['ok'])} that ended ok"
            rows.append(("first byte", _percentiles(tally.ttfb.percentile) + of))
            rows.append(("whole URL", _percentiles(tally.total.percentile) + of))
            rows.append(("slowest", self._hosts()))
        if tally.counts["kept"]:
            rows.append(("kept", f"{counted(tally.counts['kept'], 'file')}, {size(tally.kept)}, from earlier runs"))
        rows += self.places.items()
        if self.next:
            rows.append(("next", self.next))
        return "\n".join(labelled(name, text, width) for name, text in rows)

    def to_record(self) -> dict[str, Any]:
        """Return the summary for programs, in seconds and bytes."""
        tally = self.tally
        elapsed = tally.elapsed
        fetched = tally.tried
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return {
            "job": self.job,
            "finished": self.is_finished,
            "cancelled": self.is_cancelled,
            "lines": self.lines,
            "not_read": self.not_read,
            "duplicates": self.totals["duplicates"],
            **tally.counts,
            "errors": tally.errors,
            "error_examples": tally.examples,
            "bytes": tally.fetched,
            "kept_bytes": tally.kept,
            "elapsed": round(elapsed, 6),
            "busy": round(tally.busy, 6),
            "speed_up": None,  # its value was wrong; the key stays for one release
            "urls_per_second": round(fetched / elapsed, 3) if elapsed else None,
            "bytes_per_second": round(tally.fetched / elapsed, 1) if elapsed else None,
            "ttfb": {name: _rounded(tally.ttfb.percentile(share)) for name, share in shares.items()},
            "total": {name: _rounded(tally.total.percentile(share)) for name, share in shares.items()},
            "slowest_hosts": [
                {"host": host.name, "urls": host.urls, "mean": round(host.mean, 6), "failed": host.failed}
                for host in tally.slowest_hosts(_SHOWN_HOSTS)
            ],
            "batches": tally.batches,
            "workers": tally.workers,
            "wall": round(self.wall, 3),
            **{f"{name}_path" if name in ("files", "manifest") else name: text for name, text in self.places.items()},
        }

    @property
    def _state(self) -> str:
        if not self.is_finished:
            return " (not finished)"
        return " (cancelled)" if self.is_cancelled else ""

    def _so_far(self) -> str:
        counts = ", ".join(f"{count(self.tally.counts[ending])} {ending}" for ending in ENDINGS)
        return f"{counted(self.tally.rows, 'outcome')} of {counted(self.totals['lines'], 'line')} read: {counts}"

    def _hosts(self) -> str:
        hosts = self.tally.slowest_hosts(_SHOWN_HOSTS)
        return ", ".join(
            f"{host.name} {seconds(host.mean)}" + (f" ({host.failed} failed)" if host.failed else "") for host in hosts
        )


def _percentiles(percentile: Any) -> str:
    return ", ".join(f"p{share} {seconds(percentile(share / 100))}" for share in (50, 95, 99))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
