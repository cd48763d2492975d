"""The guards that keep lanes busy, their memory small, and runs from ending late."""

from __future__ import annotations

from tests.mutants.guard import Guard

_EXCHANGES = "worker/adapters/http/exchanges.py"
_TURNS = ("tests/integration/test_turns.py",)
_TIME = "tests/unit/worker/engine/test_time_of_urls.py"
_NOT_BEGUN = ("tests/unit/worker/adapters/http/test_exchanges.py",)
_NAMES = "tests/integration/test_many_names.py"
_RUNNER = ("tests/unit/worker/batch/test_runner.py::test_a_prefetch_that_came_too_early_is_repeated_in_time",)


def _limit(text: str, test: str, instead: str) -> Guard:
    return Guard("worker/engine/limits.py", text, (f"tests/unit/worker/engine/test_limits.py::test_{test}",), instead)


_KEPT = "tests/integration/test_kept_connections.py"

GUARDS = (
    Guard(_EXCHANGES, "self._multi.setopt(pycurl.M_MAXCONNECTS, most)",
        (f"{_KEPT}::test_kept_connections_are_limited",),
        "self._multi.setopt(pycurl.M_MAXCONNECTS, 3 * most)"),
    Guard(_EXCHANGES, "self._allow_connections(len(self._busy) - self._window)",
        (f"{_KEPT}::test_transfers_beside_the_window_evict_no_kept_connection",), "pass"),
    Guard("worker/engine/lane.py", "self._http.wait(0.0) if is_due else ()",
        (f"{_TIME}::test_a_body_that_has_come_is_no_timeout_however_late_the_lane_notices",), "()"),
    _limit("if not exchange.received:", "a_body_that_begins_after_half_a_minute_is_fetched_by_one_request",
        "if False:"),
    _limit("if not limit or now", "without_a_limit_of_its_own_the_first_byte_has_until_the_deadline", "if now"),
    _limit("(*marks[-PARTS:], exchange.received)", "a_body_that_is_fast_and_then_silent_is_ended_after_the_window",
        "(*marks[:PARTS], exchange.received)"),
    _limit("return now - seen.answered_at >= LONGEST_COURTESY", "a_final_status_does_not_wait_for_its_page",
        "return False"),
    _limit("    if seen.answered_at is not None:\n", "a_final_status_does_not_wait_for_its_page", "    if False:\n"),
    Guard(_EXCHANGES, "with suppress(pycurl.error):  # it has no connection now",
        ("tests/integration/test_many_transfers.py::test_transfers_without_a_connection_survive_the_change_of_drivers",),
        "if True:"),
    Guard("producer/cli/options.py", "if not isfinite(seconds):",
        ("tests/unit/producer/cli/test_options.py::test_a_time_that_is_not_finite_is_refused",), "if False:"),
    Guard("worker/engine/run.py", "GroupCommit(store=store, now=clock.now, submit=submit)",
        ("tests/unit/worker/engine/test_what_a_lane_leaves.py::test_a_finished_run_needs_no_collector",),
        "GroupCommit(store=store, now=clock.now, submit=partial(lambda _, job: submit(job), self))"),
    Guard("worker/engine/lookups.py", "begun is not None and any(",
        (f"{_TIME}::test_a_name_waiting_in_our_own_queue_is_not_late",), "any("),
    Guard("worker/engine/lookups.py", "        not_before=_NOT_BEFORE,\n",
        (f"{_TIME}::test_a_thousand_urls_of_a_dead_name_share_each_lookup",)),
    Guard("worker/engine/transfer.py", "self.deadline += now - asked",
        (f"{_TIME}::test_a_urls_clock_starts_when_it_has_an_address",), "pass"),
    Guard("worker/engine/transfer.py", "if failure.error is ErrorClass.TIMEOUT and now >= self.deadline - _EARLY:",
        ("tests/integration/test_runs.py::test_time_spent_in_earlier_batches_counts",), "if False:"),
    Guard("worker/engine/flow.py", "each.ready_at is None and now >= each.deadline",
        (f"{_TIME}::test_a_urls_clock_starts_when_it_has_a_slot",), "now >= each.deadline"),
    Guard("worker/engine/transfer.py", "            self._give_back(max(0.0, now - self.ready_at))",
        (f"{_TIME}::test_a_urls_clock_starts_when_it_has_a_slot",), "            pass"),
    Guard("worker/adapters/http/handle.py", "pycurl.DNS_CACHE_TIMEOUT, -1)",
        (f"{_NAMES}::test_the_last_of_many_names_costs_the_same_as_the_first",), "pycurl.DNS_CACHE_TIMEOUT, 120)"),
    Guard("worker/adapters/http/addresses.py", "if len(self._idle) > NAMES_KEPT:",
        (f"{_NAMES}::test_the_last_of_many_names_costs_the_same_as_the_first",), "if False:"),
    Guard(_EXCHANGES, "if self._unread and self._handed.is_leaving(name):",
        (f"{_NAMES}::test_a_name_is_given_only_after_libcurl_has_processed_its_removal",), "if False:"),
    Guard(_EXCHANGES, "        self._multi.close()  # closes",
        ("tests/integration/multiplexed/test_connections.py", "-k", "closed_cleanly"),
        "        self._driver.close()\n        self._multi.close()  # closes"),
    Guard("worker/engine/lookups.py", "    if policy.ipv4_only:\n",
        ("tests/unit/worker/engine/test_lane.py::test_a_job_with_ipv4_only_uses_no_other_address",),
        "    if False:\n"),
    Guard(_EXCHANGES, "            self._discard(handle)\n            raise\n", _NOT_BEGUN, "            raise\n"),
    Guard(_EXCHANGES, "if self._busy.pop(body, None) is not None:", _NOT_BEGUN, "if False:"),
    Guard(_EXCHANGES, "        self._pipe.wake()", ("tests/ports/test_http.py",), "        pass"),
    Guard(_EXCHANGES, "self._multi.info_read(AT_ONCE)", _TURNS, "self._multi.info_read()"),
    Guard(_EXCHANGES, "if self._has_new or self._has_more:", _TURNS, "if self._has_new:"),
    Guard("worker/batch/runner.py", "min(_POLL_INTERVAL, until_prefetch) if until_prefetch > 0 else _POLL_INTERVAL",
        _RUNNER, "_POLL_INTERVAL"),
    Guard("producer/commands/run.py", ", worker.processes, first=first,",
        ("tests/unit/producer/intake/test_batching.py",), ", worker.processes,"),
    Guard("producer/intake/batching.py", "self._next + self._reserve", ("tests/unit/producer/intake/test_batching.py",),
        "self._next"),
    Guard("worker/settings.py", "self.transfers + self.transfers // 2",
        ("tests/unit/producer/intake/test_batching.py",), "self.transfers"),
    Guard("producer/cluster/supervisor.py", "        _adopt_orphans()\n", ("tests/integration/test_supervisor.py",)),
    Guard("worker/engine/http/headers.py", "        if len(line) <= _LONGEST_REMEMBERED:\n",
        ("tests/unit/worker/engine/http/test_headers.py::test_long_lines_are_not_cached",),
        "        if True:\n"),
)  # fmt: skip
