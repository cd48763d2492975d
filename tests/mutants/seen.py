"""The guards of what a list was read to: each URL once, whatever a command is killed in the middle of."""

from __future__ import annotations

from tests.mutants.guard import Guard

_KILLED = "tests/unit/producer/job/test_killed_reading.py"
_SEEN = "tests/unit/producer/storage/test_seen.py"
_JOURNAL, _NAMES, _RUNS = "producer/storage/journal.py", "producer/storage/seen.py", "producer/storage/sorted_runs.py"


def _of(file: str, text: str, test: str, instead: str) -> Guard:
    return Guard(file, text, (test,), instead)


GUARDS = (
    _of(_JOURNAL, "position if is_due else self.written_until", _KILLED, "position"),
    _of(_JOURNAL, 'if self.fact("version") == _EARLIER:', _KILLED, "if False:"),
    _of("producer/job/plan.py", "journal.take_again(names_in(chunk), ", _KILLED, "str("),
    _of(_NAMES, "new -= self._written_among(new)", _KILLED, "pass"),
    _of(_NAMES, "        self._note_in_filter(self._runs.names())\n", _KILLED, ""),
    _of(_RUNS, "while at >= 0 and at % self._width:", _SEEN, "while False:"),
    _of(_RUNS, "if one[:NAME] != next_[:NAME]", _SEEN, ""),
    _of(_RUNS, "return max(found) if found else None", _SEEN, "return found[0] if found else None"),
    _of(_RUNS, "            if path not in wanted:\n", _SEEN, "            if False:\n"),
    _of(_RUNS, "wanted.add(self._merge.writer.path)", _SEEN, "pass"),
    _of(_RUNS, "            writer.discard()\n            raise", _SEEN, "            raise"),
    _of(
        _RUNS,
        "            self._merge = None\n            merge",
        "tests/integration/test_full_journal.py",
        "            merge",
    ),
)
