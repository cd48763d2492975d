"""The guards of reading a list: each URL once, wherever a command is killed."""

from __future__ import annotations

from tests.mutants.guard import Guard

_KILLED = "tests/unit/producer/job/test_killed_reading.py"
_SEEN = "tests/unit/producer/storage/test_seen.py"
_JOURNAL, _NAMES, _RUNS = "producer/storage/journal.py", "producer/storage/seen.py", "producer/storage/sorted_runs.py"
_FILES = "producer/storage/earlier_files.py"


def _of(file: str, text: str, test: str, instead: str) -> Guard:
    return Guard(file, text, (test,), instead)


_LINES, _SOURCES = "tests/unit/contract/urls/test_lines.py", "tests/unit/producer/intake/test_sources.py"
_FEEDER, _ROLLED_BACK = "tests/unit/producer/job/test_feeder.py", "tests/integration/test_rolled_back.py"
_COLLECTING, _KEPT = "tests/unit/producer/job/test_killed_collecting.py", "tests/unit/producer/job/test_kept_rows.py"
_STORED, _NOTED = "tests/unit/producer/storage/test_stored.py", "tests/unit/producer/storage/test_journal.py"
_SINK, _PLAN = "tests/unit/producer/job/test_manifest_sink.py", "tests/unit/producer/job/test_plan.py"
_MANIFEST = "tests/unit/producer/storage/test_manifest.py"
_GC = "tests/unit/producer/commands/test_housekeeping.py"
_DRAIN = "tests/integration/ledger/test_draining.py"

GUARDS = (
    _of("contract/urls/lines.py", "(?=[^/]{1,253}(?:/|\\Z))", _LINES, ""),
    _of("contract/urls/lines.py", "*(?!xn--)[a-z]", _LINES, "*[a-z]"),
    _of("contract/urls/lines.py", "(?:(?!xn--)[a-z0-9_-]", _LINES, "(?:[a-z0-9_-]"),
    _of("contract/urls/lines.py", "{0,16000})?", _LINES, "*)?"),
    _of("contract/urls/lines.py", "len(raw) <= LONGEST_URL and ", _LINES, ""),
    _of("contract/urls/lines.py", ' or b"/." in raw', _LINES, ""),
    _of("contract/urls/lines.py", "isinstance(_origin(plain[1].decode()), _Origin)", _LINES, "True"),
    _of("producer/intake/sources.py", 'if read.count(b"\\n") > _MOST_LINES:', _SOURCES, "if False:"),
    _of("producer/intake/sources.py", "if len(some) < most and self.comes_to_its_end:", _SOURCES, "if False:"),
    _of("producer/job/feeder.py", "_ENDED_AT_ONCE = 500", _FEEDER, "_ENDED_AT_ONCE = 5000"),
    _of("producer/job/manifest_sink.py", "expected -= {batch for each in reports for batch in _batches_of(each)}",
        _ROLLED_BACK, "pass"),
    _of("contract/ledger/lua/drain.lua", "if i > 1 and size > 4194304 then break end", _DRAIN, ""),
    _of("contract/ledger/lua/drain.lua", "if i > 1 and size", _DRAIN, "if size"),
    _of(_JOURNAL, "position if is_due else self.written_until", _KILLED, "position"),
    _of(_JOURNAL, 'if self.fact("version") == EARLIER:', _KILLED, "if False:"),
    _of("producer/job/plan.py", "journal.mark_seen_again(names_in(chunk), ", _KILLED, "str("),
    _of(_NAMES, "new -= self._written_among(new)", _KILLED, "pass"),
    _of(_NAMES, "        self._note_in_filter(self._runs.names())\n", _KILLED, ""),
    _of(_NAMES, "and bits[(place := (hash(name) >> _PLACE)", _SEEN, "or bits[(place := (hash(name) >> _PLACE)"),
    _of(_JOURNAL, "            self.files.remember(stored)\n", _COLLECTING, "            pass\n"),
    _of("producer/job/manifest_sink.py", "        remember_rest(journal)\n", _ROLLED_BACK, ""),
    _of("producer/job/manifest_sink.py", "if self._times_until >= 0:", _SINK, "if False:"),
    _of("producer/job/manifest_sink.py", "min(_TIMES_EVERY, self._times_until)", _SINK, "_TIMES_EVERY"),
    _of("producer/job/manifest_sink.py", "with suppress(MessageError):", _SINK, "if True:"),
    _of("producer/job/manifest_sink.py", "_WRITTEN_AT_ONCE = 4 *", _SINK, "_WRITTEN_AT_ONCE = 16 *"),
    _of("contract/records/reports.py", "    result.outcomes.clear()", _SINK, "    pass"),
    _of("producer/job/plan.py", ', end=int(journal.fact("offset", 0)))', _PLAN, ")"),
    _of("producer/job/plan.py", "journal.files.remembered_until, end)", _COLLECTING, "10**9, end)"),
    _of("producer/storage/stored.py", "        self.until = self._last\n", _COLLECTING, "        self.until = 10**9\n"),
    _of("producer/storage/stored.py", "if path != written}", _STORED, "}"),
    _of("producer/storage/manifest.py", "and outcome.name == name.hex()", _MANIFEST, ""),
    _of("producer/storage/manifest.py", ',"outcome":"(?:ok|kept)"', _MANIFEST, ""),
    _of("producer/job/manifest_sink.py", " or self.tally.lacks_example(sums)", _SINK, ""),
    _of("contract/records/reports.py", " and sums.rows == len(rows)", "tests/unit/contract/records/test_golden.py", ""),
    _of("producer/job/kept_rows.py", "(before.bytes, digest_of(before)) !=", _KEPT, "False and (0, 0) !="),
    _of(_FILES, "if number not in needed and may_go(path)", _GC, "if number not in needed"),
    _of(_FILES, "if number not in needed and", _GC, "if"),
    _of("producer/commands/housekeeping.py", "        look_at(path)\n", _GC, ""),
    _of("producer/commands/housekeeping.py", "return _is_older(path.lstat(), older_than)", _GC, "return True"),
    _of(_RUNS, "        ordered = _ordered(records, self._width)\n", _NOTED, "        ordered = sorted(records)\n"),
    _of(_RUNS, "while at >= 0 and at % self._width:", _SEEN, "while False:"),
    _of(_RUNS, "if one[:NAME] != next_[:NAME]", _SEEN, ""),
    _of(_RUNS, "for run in reversed(self._runs):", _SEEN, "for run in self._runs:"),
    _of(
        _RUNS,
        "        self._runs.sort(key=_age)\n        for run in merge.runs:",
        _SEEN,
        "        for run in merge.runs:",
    ),
    _of(_RUNS, "        self._runs.sort(key=_age)\n        self._next", _SEEN, "        self._next"),
    _of(_RUNS, "_JOINED_AT_ONCE = 4096", _SEEN, "_JOINED_AT_ONCE = 10**9"),
    _of(_RUNS, "            if path not in wanted:\n", _SEEN, "            if False:\n"),
    _of(_RUNS, "wanted.add(self._merge.writer.path)", _SEEN, "pass"),
    _of(_RUNS, "            writer.discard()\n            raise", _SEEN, "            raise"),
    _of(_RUNS, "            self._merge = None\n            merge", "tests/integration/test_full_journal.py",
        "            merge"),
    *(
        _of("producer/storage/own_files.py", text, "tests/unit/producer/storage/test_own_files.py", instead)
        for text, instead in (
            ("O_DIRECTORY | os.O_NOFOLLOW | os", "O_DIRECTORY | os"),
            ("os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK", "os.O_RDONLY | os.O_NONBLOCK"),
            ("not stat.S_ISREG(found.st_mode) or ", ""),
            ("hashlib.sha256(body).hexdigest() != outcome.sha256", "False"),
            ("isinstance(entry, str) and ", ""),
            (" and self._clock() < until", ""),
            (" <= _SMALL", " <= 2**40"),
            ("_FILE | _UNNOTED", "_FILE"),
            ("    except PermissionError:\n", "    except FileNotFoundError:\n"),
        )
    ),
    _of("producer/job/manifest_sink.py", "[printable(", "tests/integration/test_producer.py", "[("),
    _of("producer/storage/stored.py", "        self._of_current.clear()\n", _STORED, ""),
    _of("producer/storage/stored.py", ", outside=self._of_current", _STORED, ""),
    *(
        _of("producer/storage/rows_ahead.py", text, "tests/unit/producer/storage/test_rows_ahead.py", instead)
        for text, instead in (
            ("self._start - _NEAR < start < self._end + _NEAR", "True"),
            ("            self._rows.clear()\n", "            pass\n"),
            ("row.startswith(_STORED, row.find(_OUTCOME, at) + len(_OUTCOME))", "True"),
            (".split(b\"\\n\")[:-1]", ".split(b\"\\n\")"),
        )
    ),
    _of("producer/storage/stored.py", "if number == self._newest_earlier:", _STORED, "if True:"),
    _of("producer/storage/stored.py", "        self._ahead = RowsAhead()\n", _STORED, ""),
)  # fmt: skip
