"""The guards of helpful refusals: a file that is no list ends the command, and each wrong line says how to fix it."""

from __future__ import annotations

from tests.mutants.guard import Guard

_SHAPES = "tests/unit/contract/urls/test_shapes.py"
_FORMATS = "tests/unit/producer/intake/test_formats.py"
_SOURCES = "tests/unit/producer/intake/test_sources.py"


def _shape(text: str, instead: str) -> Guard:
    return Guard("contract/urls/shapes.py", text, (_SHAPES,), instead)


def _format(text: str, instead: str) -> Guard:
    return Guard("producer/intake/formats.py", text, (_FORMATS,), instead)


def _source(text: str, instead: str) -> Guard:
    return Guard("producer/intake/sources.py", text, (_SOURCES,), instead)


_TALLY, _SUMMARY = "producer/job/tally.py", ("tests/unit/producer/display/test_summary.py",)
_CONSOLE = "tests/unit/producer/display/test_console.py"

GUARDS = (
    _source("self.is_seen_whole = self._source == len(self._names) - 1", "self.is_seen_whole = True"),
    _source("self._ahead = self._ahead or self._read_on(self._open(), READ_AT_ONCE)", "pass"),
    _format("if lists.is_seen_whole and not asked:", "if False:"),
    Guard("producer/commands/preparation.py", "        raise SettingError(lacking)",
        ("tests/unit/producer/commands/test_preparation.py",), "        pass"),
    Guard("producer/commands/preparation.py", "if settings is None and (lacking",
        ("tests/unit/producer/commands/test_preparation.py",), "if (lacking"),
    Guard("producer/job/plan.py", "if state.is_symlink():", ("tests/unit/producer/job/test_plan.py",), "if False:"),
    Guard("producer/storage/journal_file.py", "folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW",
        ("tests/unit/producer/storage/test_journal_file.py",), "folder / _LOCK, os.O_RDWR | os.O_CREAT"),
    Guard("producer/storage/journal_file.py", "_MODE = 0o660", ("tests/unit/producer/job/test_plan.py",),
        "_MODE = 0o666"),
    Guard("producer/storage/journal_file.py", "_MODE = 0o660", ("tests/unit/producer/job/test_plan.py",),
        "_MODE = 0o600"),
    Guard("producer/storage/journal_file.py", "            self.facts = before\n",
        ("tests/unit/producer/storage/test_journal_file.py",)),
    Guard("producer/storage/journal_file.py", "flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW",
        ("tests/unit/producer/storage/test_journal_file.py",), "flags = os.O_RDWR | os.O_CREAT"),
    Guard(_TALLY, " and error not in self.examples", _SUMMARY, ""),
    Guard(_TALLY, "{host_of(row.url)} ({row.name})", _SUMMARY, "{row.url} ({row.name})"),
    Guard(_TALLY, '            "examples": self.examples,\n', _SUMMARY),
    Guard("producer/formatting.py", "return head + one_line(text)", _SUMMARY, "return head + text"),
    Guard("producer/display/console.py", "                self._exemplified.add(error)\n", (_CONSOLE,)),
    _shape("    if _URL.match(text):\n        return _encoding(text)\n", ""),
    _shape('if "?" in first or _ENDS', "if _ENDS"),
    _shape(" or _ENDS_LIKE_A_URL.fullmatch(rest[-1])", ""),
    _shape('("?" not in first and _OPTION.match(word))', "False"),
    _shape("_KNOWN_OPTION.match(word) or ", ""),
    _shape('_columns(text) if "," in first else _CAPTION', "_CAPTION"),
    _shape('    if "\\t" in text:\n        return _tsv(text)\n    if any', "    if any"),
    Guard("contract/urls/lines.py", "_ANY.fullmatch(text) and (fault := fault_of_rest(text))", (_SHAPES,), "False"),
    _format('not head.startswith(b"http") and ', ""),
    _format("controls > _MOST_CONTROLS * len(head)", "False"),
    _format("len(read) < _TRIED or ", ""),
    _format("len(refused) < len(asked) or ", ""),
    _format(" or not refused:", ":"),
    _source("        self._is_begun = True\n", ""),
    _source("        if not self._ahead:\n            return", "        if True:\n            return"),
    _source("            self._ahead += block\n", "            self._ahead = block\n"),
    _source("        if _URL.match(name):", "        if False:"),
    _source("    if stat.S_ISREG(mode):", "    if False:"),
    _source('        if fault:\n            raise InputError(f"{self.shown} {fault}")\n', ""),
)  # fmt: skip
