"""Feeds a job: reads its lists, cuts batches, records them in the journal, writes them to the ledger, sends them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

from contract.errors import UnknownJobError
from contract.records.batches import Listed, pack_entries, unpack_listed
from contract.records.outcomes import Outcome
from contract.records.reports import BatchReport
from contract.urls.lines import has_content
from producer.cluster.client import RedisFullError, Retrying, Services
from producer.intake.batching import Batcher
from producer.intake.read_ahead import ReadAhead, url_of
from producer.intake.selection import Selected, Selection
from producer.intake.sources import READ_AT_ONCE, Lines, Lists
from producer.job.sender import BatchSender, NewJob
from producer.storage.journal import Journal, KeptBatch
from producer.storage.memory import Memory

_HEAD_START = 1.0  # seconds a list is read before its first batch is cut, unless it ends or its lines come slowly
_CHUNKS_AT_ONCE = 16  # chunks read before they are recorded, if no batch is cut yet
_LINGER = 0.3  # seconds a line may wait for others before its batch is sent
_ENDED_AT_ONCE = 500  # outcomes in a report: of refused lines and kept files
_MOST_HANDED_OFF = 40 * 1024**2  # bytes of entries in Redis: parked URLs do not count against the window
MOST_AHEAD = 1_000_000  # lines to read ahead, kept on the producer's disk
_MEMORY_CHECK = 5.0  # seconds between two checks of Redis' memory


COUNTED = ("lines", "duplicates", "refused", "urls")  # counts of a list's lines
UNKNOWN = -1  # lines not read, if the list is not a file


class Feeder:
    """Feeds one job. Call ``step`` until ``is_done``.

    Between two steps the journal has everything, except for chunks read before the first batch is cut: if the command
    is killed then, they are read again.
    """

    def __init__(
        self,
        job: NewJob,
        *,
        lists: Lists | Lines,
        selection: Selection,
        batcher: Batcher,
        journal: Journal | Memory,
        services: Services,
        retrying: Retrying,
        window: int = 0,
        lead: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``window`` is the number of batches cut from the list that may be open at once; 0: any.

        ``lead`` is how many may wait for a worker while all that was read is of hosts that had their turn, and there is
        more to read; 0: any.
        """
        self._job = job
        self._sender = BatchSender(job, journal=journal, services=services, retrying=retrying)
        self._lists = lists
        self._selection = selection
        self._batcher = batcher
        self._journal = journal
        self._services = services
        self._retrying = retrying
        self._window = window
        self._lead = lead
        self._ahead = ReadAhead(journal)
        self._clock = clock
        self._lingering_since: float | None = None
        self._began = float("inf")  # when the first chunk was read
        self._unrecorded = 0  # chunks read since the journal was last written
        self._in_line: int | None = None  # batches no worker has taken yet; None: not asked in this step
        self._memory_checked = float("-inf")
        self.held_up = ""  # why nothing is sent now, in half a sentence
        self._next_batch = int(journal.fact("next_batch", 1))
        self.totals = {key: int(journal.fact(key, 0)) for key in COUNTED}
        if journal.fact("not_read") is not None:
            self.totals["not_read"] = int(journal.fact("not_read"))
        self._is_sealed = bool(journal.fact("sealed", False))
        self.is_behind = False  # the journal has batches that may not be in the ledger
        remainder = journal.remainder()
        if remainder:
            self._batcher.restore(unpack_listed(remainder))
            self._lingering_since = clock()

    @property
    def is_done(self) -> bool:
        """Was the whole list read, and does the ledger have all of it?"""
        return self._is_sealed and not self.is_behind

    @property
    def is_cancelled(self) -> bool:
        """Did the ledger take no more, because the job was cancelled?"""
        return self._sender.is_cancelled

    def step(self, wait: float = 0.0) -> bool:
        """Read the next chunk and send full batches; False if there was nothing to do now.

        ``wait`` is the number of seconds to wait for a slow list.
        """
        self._in_line = None
        if self.is_done or not self._redis_has_room():
            return False
        if self.is_behind:
            self.recover()
            return not self.is_behind
        selected = self._read_on(wait)
        ended = [*selected.refused, *selected.kept] if selected is not None else []
        is_early = selected is not None and self._has_head_start
        if is_early and not ended and self._unrecorded < _CHUNKS_AT_ONCE:
            return True
        ahead = self._ahead.urls
        batches = [] if is_early else self._cut()
        if selected is not None or self._ahead.urls < ahead:  # what was popped may fill no batch yet
            self._feed(batches, ended)
            return True
        if not self._may_open(0):
            return False
        return self._end() if self._is_read else self._flush_if_old()

    def recover(self) -> None:
        """Make sure that the ledger has the job and every batch that the manifest lacks; safe at any time."""
        self.is_behind = False
        try:
            self._sender.open_again(self.totals if self._is_sealed else None)
        except RedisFullError:
            self._fall_behind()

    def cancel(self) -> None:
        """Stop reading: lines already read end as cancelled, the others are counted as not read.

        Each step ends as many of the lines read ahead as it would otherwise send.
        """
        if self._is_sealed or "not_read" in self.totals:
            return
        self.totals["not_read"] = self._count_rest()
        if self._ahead:
            self._feed((), ())
        else:
            self._end()

    # ------------------------------------------------------------------ how

    def _count_rest(self) -> int:
        rest = 0
        while not self._lists.is_exhausted:
            if not self._lists.comes_to_its_end:
                return UNKNOWN
            chunk = self._lists.read()
            rest += sum(map(has_content, chunk.lines)) if chunk is not None else 0
        return rest

    def _read_on(self, wait: float) -> Selected | None:
        """Read a chunk and add it to the entries read ahead; None: there is none now, or enough was read."""
        chunk = self._lists.read(wait) if self._reads_on and self._takes_reports else None
        if chunk is None:
            return None
        self._began = min(self._began, self._clock())
        selected = self._selection.judge(chunk)
        counted = (selected.lines, selected.duplicates, len(selected.refused), selected.urls)
        for key, count in zip(COUNTED, counted, strict=True):
            self.totals[key] += count
        self._ahead.add(selected.entries)
        self._unrecorded += 1
        return selected

    def _cut(self) -> list[list[Listed]]:
        """Cut batches from what was read, as far as they may be opened now.

        At most a chunk at once, so that workers soon get the first ones; but all that was read if nothing is recorded
        yet, because the rest would be written as read ahead.
        """
        batches: list[list[Listed]] = []
        size, most = 0, READ_AT_ONCE * (1 if self._journal.fact("position") else _CHUNKS_AT_ONCE)
        while self._ahead and size < most and self._may_open(len(batches)):
            entries = self._ahead.pop()
            size += sum(len(url_of(entry)) for entry in entries)
            batches += self._batcher.add(entries)
        return batches

    @property
    def _reads_on(self) -> bool:
        return self._ahead.urls < MOST_AHEAD and not self._is_read

    @property
    def _takes_reports(self) -> bool:
        """May reports of refused lines and kept files be written to Redis now, even if no batch may be opened?"""
        most = 2 * self._window
        return not most or self._journal.count_uncollected() < most or self._journal.backlog()[0] < most

    @property
    def _is_read(self) -> bool:
        """Has everything been read?"""
        return self._lists.is_exhausted or "not_read" in self.totals

    @property
    def _has_head_start(self) -> bool:
        """Is it too early to send anything of a list that is read quickly, for hosts that come soon to take part?"""
        return bool(self._lead) and self._reads_on and self._clock() - self._began < _HEAD_START

    def _may_open(self, more: int) -> bool:
        """May another batch be opened, besides ``more`` that are about to be?"""
        if self._lead and self._reads_on and self._ahead.is_overtaking and self._count_in_line() + more >= self._lead:
            return False
        if not self._window or self._journal.count_uncollected() + more < self._window:
            return True
        fed, size = self._journal.backlog()
        return fed + more < self._window and size < _MOST_HANDED_OFF

    def _count_in_line(self) -> int:
        """Count the batches no worker has taken yet; one that is held may be open for long, for a URL that hangs."""
        if self._in_line is None:
            self._in_line = self._retrying.call(lambda: self._services.ledger.count_in_line(self._job.id))
        return self._in_line

    def _redis_has_room(self) -> bool:
        if not self._journal.keeps_batches:
            return True  # a script may collect nothing before all is sent
        now = self._clock()
        if now - self._memory_checked >= _MEMORY_CHECK:
            self._memory_checked = now
            memory = self._retrying.call(self._services.ledger.memory)
            if memory.is_full and not self.held_up:
                self._retrying.echo(f"{memory.fullness}: give it more memory, or follow or remove old jobs.")
            self.held_up = memory.fullness if memory.is_full else ""
        return not self.held_up

    def _flush_if_old(self) -> bool:
        if self._lingering_since is None or self._clock() - self._lingering_since < _LINGER:
            return False
        self._feed(self._batcher.flush(), ())
        return True

    def _end(self) -> bool:
        self._feed(self._batcher.flush(), (), sealed=True)
        self._is_sealed = True
        self._insist(self._seal)
        return True

    def _seal(self) -> None:
        self._services.ledger.seal(self._job.id, self.totals)

    def _insist(self, change: Callable[[], None]) -> None:
        """Make a change to the ledger; where it has lost the job, or has no room, the journal makes up for it.

        Raises:
            UnknownJobError: it has lost the job, and no journal has its batches.
        """
        if self.is_behind:
            return
        try:
            self._retrying.call(change, even_when_full=not self._journal.keeps_batches)
        except UnknownJobError:
            if not self._journal.keeps_batches:
                raise
            self.recover()
        except RedisFullError:
            self._fall_behind()

    def _fall_behind(self) -> None:
        self._retrying.echo("Redis is out of memory: nothing more is sent until some outcomes were collected.")
        self.is_behind, self.held_up = True, "Redis is out of memory"
        self._memory_checked = self._clock()

    def _feed(self, batches: Sequence[Sequence[Listed]], ended: Sequence[Outcome], **facts: Any) -> None:
        kept = [KeptBatch(self._number(), len(entries), pack_entries(entries)) for entries in batches]
        about = [f"urls={len(entries)} hosts={_count_hosts(entries)}" for entries in batches]
        for start in range(0, len(ended), _ENDED_AT_ONCE):
            some, number = ended[start : start + _ENDED_AT_ONCE], self._number()
            report = self._report_of(number, some)
            kept.append(KeptBatch(number, len(some), report.to_result(), is_report=True, report=report))
        ahead = self._ahead.changes()
        self._journal.record_fed(
            kept,
            pack_entries(self._batcher.held) if self._batcher.held else None,
            ahead=ahead.kept,
            popped=ahead.popped,
            position=self._lists.position.to_record(),
            next_batch=self._next_batch,
            **self.totals,
            **facts,
        )
        self._unrecorded = 0
        self._lingering_since = (self._lingering_since or self._clock()) if self._batcher.held else None
        self._insist(lambda: self._sender.open(kept, about))

    def _number(self) -> str:
        number = str(self._next_batch)
        self._next_batch += 1
        return number

    def _report_of(self, batch: str, outcomes: Sequence[Outcome]) -> BatchReport:
        return BatchReport.without_work(
            self._job.id,
            batch,
            worker=f"producer@{platform.node()}",
            at=time.time(),
            outcomes=outcomes,
            pid=os.getpid(),
        )


def _count_hosts(entries: Sequence[Listed]) -> int:
    hosts = {url_of(entry).split("/", 3)[2] for entry in entries}
    return len({host.lower() for host in hosts})
