"""The guards of slots in the window: a quiet transfer holds none, and costs no other one."""

from __future__ import annotations

from tests.mutants.guard import Guard, tested_in

_LANE = "worker/engine/lane.py"
_SCHEDULE = "worker/engine/schedule.py"
_SLOTS = "worker/engine/slots.py"

_scheduled = tested_in("unit/worker/engine/test_schedule.py")
_silent = tested_in("unit/worker/engine/test_quiet_items.py")
_tiered = tested_in("unit/worker/engine/test_tiers.py")
_quiet = tested_in("unit/worker/engine/test_quiet_transfers.py")

GUARDS = (
    _quiet(_LANE, "self._slots.listen(now)", "test_a_stalled_transfer_costs_the_others_a_slot_for_two_seconds"),
    _quiet(_SLOTS, "return gained < _PULSE * since", "test_a_stalled_transfer_costs_the_others_a_slot_for_two_seconds",
        "return gained == 0"),
    _quiet(_SLOTS, "return min(QUIET_AFTER, max(_SOONEST, _STANDS_OUT * self._average))",
        "test_silence_is_noticed_after_four_times_what_the_others_take", "return QUIET_AFTER"),
    Guard(_SLOTS, "if not exchange.is_helper:",
        ("tests/unit/worker/engine/splits/test_split.py::test_a_split_counts_as_one_url_in_flight",), "if True:"),
    _quiet(_SLOTS, "max(_SOONEST, ", "test_silence_is_noticed_after_four_times_what_the_others_take", "(("),
    _quiet(_SLOTS, "max(1, window // _FEW)", "test_silence_is_noticed_after_four_times_what_the_others_take", "1"),
    _quiet(_SLOTS, "if exchange not in self.heard:\n            self._turnover",
        "test_slow_answers_among_fast_ones_make_silence_no_less_conspicuous", "if True:\n            self._turnover"),
    _quiet(_SLOTS, "    if now - heard.at >= QUIET_AFTER:\n",
        "test_a_stalled_transfer_costs_the_others_a_slot_for_two_seconds", "    if is_back:\n"),
    _quiet(_SLOTS, "                    schedule.rouse(host)\n",
        "test_a_quiet_transfer_whose_bytes_flow_again_holds_a_slot", ""),
    _quiet(_SLOTS, "return heard is not None and heard.is_quiet",
        "test_a_quiet_transfer_whose_bytes_flow_again_holds_a_slot", "return heard is not None"),
    _quiet(_SLOTS, "max(_SOONEST, _STANDS_OUT * self._average)", "test_no_transfer_is_quiet_if_all_are_slow",
        "_SOONEST"),
    _quiet(_SLOTS, "sooner if schedule.flying_at(host) <= self._few else QUIET_AFTER",
        "test_a_host_with_many_in_flight_is_not_asked_for_more_so_soon", "sooner"),
    _quiet("worker/engine/results.py", "self.unsettled <= self._resting",
        "test_quiet_transfers_leave_room_for_another_batch", "False"),
    _quiet("worker/engine/results.py", "self._backlog.change(self.fetching - before)",
        "test_there_is_room_as_soon_as_all_runs_together_have_few_urls_left", "before >= 8 > self.fetching"),
    _quiet("worker/engine/transfer.py",
        "return Tier.STALLED if last.error in _STALLS and last.seconds >= QUIET_AFTER else Tier.AGAIN",
        "test_a_retry_of_a_stalled_url_takes_no_slot", "return Tier.AGAIN"),
    _quiet(_LANE, "self._slots.release(transfer.exchange)", "test_a_retry_of_a_stalled_url_takes_no_slot"),
    _quiet("worker/engine/flow.py", "            self._end_overdue(now)\n",
        "test_a_retry_that_finds_no_slot_ends_at_its_deadline", ""),
    _quiet("worker/engine/transfer.py", " and self.failure is not None\n\n    # ---",
        "test_a_retry_of_an_earlier_batch_that_finds_no_slot_waits_for_one", "\n\n    # ---"),
    _quiet("worker/engine/assignments.py", "        resting += self.waiting\n",
        "test_quiet_transfers_leave_room_for_another_batch", "        resting = 0\n"),
    _quiet(_SLOTS, "        yield from (each for each in self._schedule.held_up() if not each.was_waiting)\n",
        "test_quiet_transfers_leave_room_for_another_batch", ""),
    _quiet(_LANE, "self._slots.leave(exchange) if self._heard else False)",
        "test_a_quiet_transfer_whose_bytes_come_continues_undisturbed", "False)"),
    _scheduled(_SCHEDULE, " if window > 1 else 1", "test_with_one_slot_nothing_overlaps", ""),
    _scheduled(_SCHEDULE, "max(_OPENING, window // 4)",
        "test_a_host_starts_with_a_quarter_of_the_window", "window // 2"),
    _silent(_SCHEDULE, "host.quiet > 0 and host.flying >= self._window + host.prompt",
        "test_a_quiet_host_has_no_more_in_flight_than_there_are_slots", "False"),
    _silent(_SCHEDULE, "            host.prompt += 1\n",
        "test_a_host_that_answers_may_have_quiet_ones_beside_the_window", "            pass\n"),
    _silent(_SCHEDULE, "host.quiet and host.is_mostly_quiet(spare)", "test_silent_hosts_leave_others_room_to_be_quiet",
        "False"),
    _silent("worker/engine/queues.py", " and 2 * self.quiet >= self.flying",
        "test_a_host_with_a_few_quiet_items_is_not_stuck", ""),
    _silent(_SCHEDULE, "            self._offer(host)\n\n    def flying_at",
        "test_a_stuck_host_continues_when_fewer_are_quiet", "            pass\n\n    def flying_at"),
    _tiered(_SCHEDULE, "self._firsts.count and (self._firsts_in_a_row < _FIRSTS or not self._again.count)",
        "test_first_attempts_come_before_retries_without_starving_them", "self._firsts.count"),
    _tiered(_SCHEDULE, "self._most_quiet // 2 - self.quiet",
        "test_stalled_items_take_no_slot_and_at_most_half_of_the_quiet_ones", "self._most_quiet - self.quiet"),
    _tiered(_SCHEDULE, " or tier is STALLED):", "test_stalled_items_take_no_slot_and_at_most_half_of_the_quiet_ones",
        "):"),
    _tiered(_SCHEDULE, "            host.set_back()\n",
        "test_first_tries_of_a_host_that_only_stalls_take_no_slot_from_others", "            pass\n"),
    _quiet(_SCHEDULE, "            host.set_back()\n", "test_hosts_that_only_stall_cost_the_others_no_more_slots",
        "            pass\n"),
    _tiered(_SCHEDULE, "item.tier is FIRST and not (host.quiet and host.stalls)",
        "test_first_tries_that_a_host_gets_after_it_stalled_take_no_slot_from_others_either", "item.tier is FIRST"),
    _tiered(_SCHEDULE, "                host.bring_forward()\n",
        "test_first_tries_of_a_host_that_answers_after_all_are_such_again", "                pass\n"),
    Guard("worker/adapters/http/waiting.py", "self.is_sparse = self._watched >= _SPARSE * self._ready",
        ("tests/unit/worker/adapters/http/test_waiting.py",), "pass"),
    Guard("worker/adapters/http/exchanges.py", "elif not (self._busy or self._is_crowded):",
        ("tests/integration/multiplexed/test_connections.py::test_select_and_epoll_take_turns_on_pooled_connections",),
        "elif False:"),
)  # fmt: skip
