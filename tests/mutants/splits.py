"""The guards of bodies fetched in several ranges: what counts, who helps whom, and how often a share is asked for."""

from __future__ import annotations

from tests.mutants.guard import Guard

_CREW = "worker/engine/crew.py"
_EXCHANGE = "worker/engine/exchange.py"
_LANE = "worker/engine/lane.py"
_SPLIT = "worker/engine/split.py"
_WHATEVER = "test_whatever_happens_the_file_is_one_version_whole_or_absent"


def _of(file: str, text: str, test: str, instead: str = "") -> Guard:
    return Guard(file, text, (f"tests/unit/test_split.py::{test}",), instead)


GUARDS = (
    _of(_EXCHANGE, "if continues(head, asked.version, asked.size, self.ends):", _WHATEVER, "if head.status == 206:"),
    _of(_EXCHANGE, "data = data[: self.until - at]", "test_a_slow_connection_is_relieved", "pass"),
    _of(_CREW, "main.until = None  # it goes on to the end", "test_a_range_answered_otherwise_ends_the_split[full]",
        "pass"),
    _of(_CREW, "self._schedule.join(main.transfer.host_key)", "test_helpers_count_at_their_host", "pass"),
    _of(_CREW, " - soon + 1)", "test_helpers_count_at_their_host", " + 1)"),
    _of(_LANE, "        _discard(exchange)\n        exchange.transfer.failure = failure\n",
        "test_a_helper_that_cannot_begin_ends_its_url_and_nothing_is_left",
        "        exchange.transfer.failure = failure\n"),
    _of(_LANE, "self._spoil(transfer.exchange or exchange, bug(error), now)",
        "test_a_bug_within_a_split_ends_its_url_once", "self._spoil(exchange, bug(error), now)"),
    _of(_SPLIT, "self._relieve(_speed(exchange, now), now)", "test_a_slow_connection_is_relieved", "pass"),
    _of(_SPLIT, "self.fetching[start].until = bound", "test_a_slow_connection_is_relieved", "pass"),
    _of(_SPLIT, "            self._divide(start, exchange.size)\n            self.done.add(start)\n",
        "test_a_share_whose_connection_broke_is_asked_for_again",
        "            self.done.add(start)\n"),
    _of(_SPLIT, "self.spare and ", "test_a_server_that_breaks_every_connection_is_asked_a_bounded_number_of_times"),
    _of(_SPLIT, "(_BUSY if exchange.is_unfit else _BROKEN)", "test_a_range_answered_otherwise_ends_the_split[full]",
        "(_BUSY | _BROKEN)"),
    _of(_SPLIT, "insort(self.later, start)", "test_a_server_that_allows_fewer_connections_is_not_pressed[busy]",
        "self.waiting.append(start)"),
    _of(_SPLIT, "later=bounds[width:-1]", "test_shares_are_fetched_from_the_front", "later=bounds[-2:width-1:-1]"),
)  # fmt: skip
