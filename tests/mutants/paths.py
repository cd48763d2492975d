"""The guards of paths that a user names: whatever is there stays there, and nothing waits for it."""

from __future__ import annotations

from tests.mutants.guard import Guard

_MANIFEST = "tests/unit/producer/storage/test_manifest.py"
_NAMED = "tests/unit/contract/test_named_files.py"
_FULL_MANIFEST = "tests/acceptance/test_full_disk.py::test_a_full_disk_under_manifest_and_journal_is_waited_for"
_FULL = "tests/integration/test_full_journal.py"
_PLAN = "tests/unit/producer/job/test_plan.py"
_SOURCES = "tests/unit/producer/intake/test_sources.py"
_COMPARE = "tests/unit/producer/commands/test_compare.py"
_MISTAKES = "tests/integration/test_producer.py::test_a_users_mistake_is_one_sentence"


def _of(file: str, text: str, test: str, instead: str = "pass") -> Guard:
    return Guard(file, text, (test,), instead)


_FILE, _JOURNAL = "producer/storage/journal_file.py", "producer/storage/journal.py"
_STORE, _BEGIN = "producer/storage/manifest.py", "producer/job/plan.py"

GUARDS = (
    _of("producer/storage/regular.py", "_insist_on_regular(os.lstat(path), subject)", _MANIFEST, "os.lstat(path)"),
    _of(_STORE, "if not _begins_with_row(os.pread(file, _LONGEST_ROW, 0)):", _MANIFEST, "if False:"),
    _of(_STORE, "is_torn and (", _MANIFEST, "False and ("),
    _of(_STORE, "not newline and len(head) < _LONGEST_ROW", _MANIFEST, "True"),
    _of(_STORE, "        _lock(self._file, self.path)\n", _MANIFEST, ""),
    _of(_STORE, "        _lock(file, path)\n", _MANIFEST, ""),
    _of(_STORE, "kept = _reserve(_named(", _MANIFEST, "kept = (_named("),
    _of(_STORE, "        if not os.pread(file, 1, 0):\n            return None\n", _MANIFEST, ""),
    _of(_BEGIN, "    kept = set_aside(manifest, None)  #", _PLAN, "    kept = None  #"),
    _of(_BEGIN, '        echo(f"{manifest} held another job', _PLAN, '        str(f"{manifest} held another job'),
    _of(_BEGIN, "        _refuse_place_of_a_body(manifest, folder)\n", _PLAN, ""),
    _of(_BEGIN, "    except FolderError:\n        return written", _PLAN,
        "    except EOFError:\n        return written"),
    _of(_BEGIN, "        look_at(manifest)  #", _PLAN, "        pass  #"),
    _of(_BEGIN, " path_of(recorded) if recorded", _PLAN, " Path(recorded) if recorded"),
    _of(_BEGIN, "'backslashreplace'", _PLAN, "'surrogateescape'"),
    _of("producer/intake/sources.py", "for _ in range(_READS_AT_ONCE):\n            if self.is", _SOURCES,
        "while True:\n            if self.is"),
    _of(_FILE, "        if _is_full(self._path, error):", _FULL, "        if False:"),
    _of(_FILE, "        return code == sqlite3.SQLITE_FULL", _FULL, "        return False"),
    _of(_FILE, "return refusal.errno in FULL", _FULL, "return False"),
    _of(_JOURNAL, "    @waits_for_space\n    def _note_fed", _FULL, "    def _note_fed"),
    _of(_JOURNAL, "    @waits_for_space\n    def _write_seen", _FULL, "    def _write_seen"),
    _of(_JOURNAL, "    @waits_for_space\n    def _note_collected", _FULL, "    def _note_collected"),
    _of(_JOURNAL, "            self._uncollected = uncollected\n", _FULL, "            pass\n"),
    _of(_STORE, "os.lseek(self._file, self.offset, os.SEEK_SET)  #", _FULL_MANIFEST, "pass  #"),
    _of(_STORE, "    @waits_for_space\n", _FULL_MANIFEST),
    _of("producer/storage/full_disk.py", "self._stop()", "tests/unit/producer/storage/test_full_disk.py", "pass"),
    _of("producer/job/plan.py", "if error.errno in FULL:", _FULL, "if False:"),
    _of("contract/named_files.py", "(may_be_pipe and is_pipe)", _NAMED, "False"),
    _of("contract/named_files.py", "if stat.S_ISDIR(mode):", _NAMED, "if False:"),
    _of("producer/commands/demo.py", 'if text.read(len(_HEAD)) not in ("", _HEAD):', _MISTAKES, "if False:"),
    _of("producer/commands/compare.py", "    _refuse_streams(lists)\n", _COMPARE, ""),
)  # fmt: skip
