"""What keeps memory flat, and mutants that keep every URL instead."""

from __future__ import annotations

from tests.mutants.guard import Guard

_TEST = "tests/acceptance/test_flat_memory.py::test_ten_times_as_many_urls_cost_far_less_than_keeping_them"


def _feeder(text: str, test: str, instead: str) -> Guard:
    return Guard("producer/job/feeder.py", text, (f"tests/unit/producer/job/test_feeder.py::{test}",), instead)


def _ahead(text: str, test: str, instead: str) -> Guard:
    tests = (f"tests/unit/producer/intake/test_read_ahead.py::{test}",)
    return Guard("producer/intake/read_ahead.py", text, tests, instead)


def _hoard(file: str, text: str, what: str, part: str) -> Guard:
    """Behind ``text``, a statement on a line of its own, keep ``what`` for ever."""
    indented = text[: len(text) - len(text.lstrip())]
    return Guard(
        file, text, (f"{_TEST}[{part}]",), f"{text}{indented}globals().setdefault('kept', []).append({what})\n"
    )


GUARDS = (
    _feeder("+ more >= self._lead", "test_a_host_with_most_lines_holds_up_no_other_killed_or_not[0]",
        "+ more >= self._window"),
    _feeder("selected is not None and self._has_head_start", "test_hosts_read_within_a_second_share_the_first_batches",
        "False"),
    _feeder("is_early = selected is not None and", "test_a_slow_or_long_list_is_sent_while_it_is_read", "is_early ="),
    _feeder("if is_early and not", "test_a_short_list_is_never_recorded_as_read_ahead", "if False and not"),
    _feeder(" and not ended", "test_lines_refused_before_the_first_batch_have_a_report", ""),
    _feeder("self._unrecorded < _CHUNKS_AT_ONCE", "test_what_is_read_before_it_is_recorded_is_bounded", "True"),
    _feeder("self._ahead.urls < ahead", "test_batches_larger_than_a_step_have_every_line", "batches"),
    _feeder("self._count_in_line() +", "test_batches_held_open_by_hanging_urls_do_not_stop_the_feeding",
        "self._journal.count_uncollected() +"),
    _feeder("self._ahead.urls < MOST_AHEAD and", "test_reading_ahead_is_bounded", ""),
    _feeder("popped=ahead.popped", "test_a_host_with_most_lines_holds_up_no_other_killed_or_not[5]", "popped=()"),
    _ahead("place = earliest", "test_no_host_is_alone_in_a_long_list_sorted_by_host", "pass"),
    _ahead("missed[host] -= CATCHES_UP - 1", "test_a_late_host_catches_up_beside_the_others", "pass"),
    _ahead("known[host] = place + length", "test_hosts_of_a_sorted_list_take_turns", "pass"),
    _ahead("place // _ROUND, []", "test_a_list_of_many_hosts_keeps_its_order", "place, []"),
    _ahead("self._popped.append(number)", "test_every_entry_is_popped_once_whatever_happens_between", "pass"),
    Guard("producer/job/feeder.py", "if not self._window or", (f"{_TEST}[Redis]",), "if True or"),
    _hoard("producer/job/manifest_sink.py", "        self.live.end(collected)\n", "rows", "the producer"),
    _hoard("worker/batch/runner.py", "        self._held.remove(batch)\n", "batch", "the worker's pool process"),
)  # fmt: skip
