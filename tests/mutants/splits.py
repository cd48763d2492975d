"""The guards of bodies fetched in several ranges: what counts, who takes over from whom, and how often a segment is
retried.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

_FETCHER = "worker/engine/splits/fetcher.py"
_EXCHANGE = "worker/engine/exchange.py"
_FLOW = "worker/engine/flow.py"
_LANE = "worker/engine/lane.py"
_SPLIT = "worker/engine/splits/split.py"


def _of(file: str, text: str, test: str, instead: str = "") -> Guard:
    return Guard(file, text, (f"tests/unit/worker/engine/splits/test_split.py::{test}",), instead)


GUARDS = (
    _of(_EXCHANGE, "data = data[: self.until - at]", "test_a_slow_connection_is_relieved", "pass"),
    _of(_FETCHER, "main.leave_rest_from(None)  # it continues to the end",
        "test_a_range_with_a_wrong_response_ends_the_split[full]", "pass"),
    _of(_FETCHER, "self._schedule.join(transfer.host_key)", "test_helpers_count_towards_the_hosts_limit", "pass"),
    _of(_FETCHER, " - soon + 1)", "test_helpers_count_towards_the_hosts_limit", " + 1)"),
    _of(_LANE, "        exchange.discard()\n        self._flow.fail(transfer, failure, now)\n",
        "test_a_helper_that_cannot_begin_ends_its_url_and_leaves_nothing",
        "        self._flow.fail(transfer, failure, now)\n"),
    _of(_LANE, "self._spoil(transfer, transfer.exchange or exchange, bug(error), now)",
        "test_a_bug_within_a_split_ends_its_url_once", "self._spoil(transfer, exchange, bug(error), now)"),
    _of(_FLOW, "        self._between[transfer] = None\n        self._schedule.wait(transfer, until)\n",
        "test_a_resting_split_frees_its_slots_and_keeps_its_deadline",
        "        self._schedule.wait(transfer, until)\n"),
    _of(_FLOW, "                self._withdraw(transfer)\n                failure",
        "test_a_resting_split_frees_its_slots_and_keeps_its_deadline", "                failure"),
    _of(_FLOW, "        self._withdraw(transfer)\n        if transfer.terms.policy.resume",
        "test_a_resting_split_is_handed_back_with_its_wait", "        if transfer.terms.policy.resume"),
    _of(_LANE, "self._schedule.leave(transfer.host_key)  # its helpers",
        "test_a_split_rests_while_all_segments_wait", "pass  #"),
    _of(_LANE, "while came or self._fetcher.asking:\n            self._fetcher.begin(now)  # first:",
        "test_a_split_whose_host_pauses_before_its_helpers_begin_ends_once",
        "if self._fetcher.asking:\n            self._fetcher.begin(now)\n        while came:\n            pass  #"),
    _of(_FETCHER, "self._rest(transfer, moment)", "test_a_split_rests_while_all_segments_wait",
        "pass"),
    _of(_FETCHER, "if now + pause >= transfer.deadline", "test_a_wait_that_is_too_long_ends_the_split", "if False"),
    _of(_FETCHER, "transfer.terms.retry.pause_after(failure, split.tries + 1, random=self._random)",
        "test_a_segment_refused_without_retry_after_waits_like_an_attempt", "failure.retry_after or 0.0"),
    _of(_SPLIT, " if self.due.get(start, now) <= now]",
        "test_a_segment_refused_without_retry_after_waits_like_an_attempt", "]"),
    Guard("worker/engine/schedule.py", ", first=item.is_under_way",
        ("tests/unit/worker/engine/test_schedule.py::test_an_item_under_way_comes_first_when_it_is_due",)),
    _of(_SPLIT, "self._relieve(_speed(exchange, now), now)", "test_a_slow_connection_is_relieved", "pass"),
    _of(_SPLIT, "exchange.received and is_sure and",
        "test_a_slow_connection_that_only_its_end_proves_is_not_relieved", "exchange.received and"),
    _of(_SPLIT, "self.fetching[start].leave_rest_from(bound)", "test_a_slow_connection_is_relieved", "pass"),
    _of(_SPLIT, "            self._divide(start, exchange.size)\n            self.done.add(start)\n",
        "test_a_segment_whose_connection_broke_is_requested_again", "            self.done.add(start)\n"),
    _of(_SPLIT, "self.spare and ", "test_a_server_that_breaks_every_connection_gets_few_requests"),
    _of(_SPLIT, "(_BUSY if exchange.is_unfit else _BROKEN)", "test_a_range_with_a_wrong_response_ends_the_split[full]",
        "(_BUSY | _BROKEN)"),
    _of(_SPLIT, "insort(self.later, start)\n            self.due[start] = due",
        "test_a_server_that_allows_fewer_connections_gets_no_more[busy]", "self.waiting.append(start)"),
    Guard(_SPLIT, "return len(self.done) == len(self.bounds) - 1",
        ("tests/integration/test_worker.py::test_a_worker_killed_during_a_split_leaves_no_body_with_holes",),
        "return self.bounds[-2] in self.done"),
    _of(_SPLIT, "later=bounds[width:-1]", "test_segments_are_fetched_from_the_front", "later=bounds[-2:width-1:-1]"),
)  # fmt: skip
