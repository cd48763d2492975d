"""The guards of a body's end: how long a range is in any framing, and which responses are the file."""

from __future__ import annotations

from tests.mutants.guard import Guard

_EXCHANGE = "worker/engine/exchange.py"
_HTTP = "tests/unit/worker/engine/http"
_NOT_READY = "test_a_server_may_say_when_to_retry"
_TRANSFERS = "tests/integration/test_transfers.py"
_CONTINUING = "tests/unit/worker/engine/test_continuing.py"


def _of(file: str, text: str, test: str, instead: str = "") -> Guard:
    return Guard(file, text, (f"{_CONTINUING}::{test}",), instead)


_FUZZED = ("tests/fuzz/test_ranges.py::test_no_lying_server_gets_a_wrong_file_published",)

GUARDS = (
    Guard(_EXCHANGE, " is not None and continues(head, asked.version, asked.size, self.until):", _FUZZED,
        " is not None:"),
    _of(_EXCHANGE, "if self.ends is not None and at + len(data) > self.ends:",
        "test_a_part_of_the_wrong_length_is_discarded[longer-chunked]", "if False:"),
    _of(_EXCHANGE, "        if self._asked is None:\n", "test_any_other_unrequested_range_is_not[longer]",
        "        if False:\n"),
    _of(_EXCHANGE, "self.is_unfit = received != due", "test_a_part_of_the_wrong_length_is_discarded", "pass"),
    Guard(_EXCHANGE, "self.is_unfit = received != due", _FUZZED, "pass"),
    Guard(_EXCHANGE, "self.until if self.until is not None else self.ends", _FUZZED, "self.until"),
    _of(_EXCHANGE, "= asked.head, asked.draft, asked.size, asked.size",
        "test_a_part_that_lacks_only_its_last_chunk_is_whole_if_the_server_says_so",
        "= asked.head, asked.draft, asked.size, None"),
    _of(_EXCHANGE, "if span is not None and span.is_all else None",
        "test_any_other_unrequested_range_is_not[a part]", "if span is not None else None"),
    _of("worker/engine/parts.py", "replace(before.version, total=exchange.ends)",
        "test_a_version_has_one_length_only", "before.version"),
    _of("worker/engine/transfer.py", " and self.part is None and",
        "test_a_part_of_an_earlier_run_outlasts_a_pause_of_its_host", " and"),
    _of("worker/engine/rows.py", " and exchange.ends is None and",
        "test_a_part_without_a_length_continues_a_body_and_is_proven[close]", " and"),
    _of(_EXCHANGE, "head.status not in (206, 416) and",
        "test_a_part_whose_bytes_come_long_after_its_head_is_waited_for"),
    Guard("worker/engine/http/ranges.py", "and head.length in (None, end - start)",
        (f"{_HTTP}/test_ranges.py::test_a_part_is_as_long_as_content_range_says_whatever_frames_it",)),
    Guard("worker/engine/http/verdict.py", "elif status == 202 and head.get(\"retry-after\") is not None:",
        (f"{_HTTP}/test_verdict.py::{_NOT_READY}",), "elif False:"),
    Guard("worker/engine/http/retry.py", 're.compile(r"[0-9]+")',
        (f"{_HTTP}/test_retry.py::test_any_number_of_digits_is_a_long_wait",),
        're.compile(r"[0-9]{1,9}")'),
    Guard("worker/adapters/http/handle.py", '[field.encode("latin-1") for field in fields]',
        (f"{_TRANSFERS}::test_a_body_fetched_in_ranges_is_one_version_whole[split-latin-1]",), "list(fields)"),
    Guard("worker/adapters/http/handle.py", "policy.user_agent.encode()",
        (f"{_TRANSFERS}::test_a_user_agent_is_sent_as_utf_8",), "policy.user_agent"),
    Guard("contract/records/policy.py", "if _NOT_IN_A_HEADER.search(self.user_agent):",
        ("tests/unit/contract/records/test_records.py",), "if False:"),
)  # fmt: skip
