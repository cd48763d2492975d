"""What keeps memory flat, and what it would be to keep every URL instead."""

from __future__ import annotations

from tests.mutants.guard import Guard

_TEST = "tests/acceptance/test_flat_memory.py::test_twenty_times_as_many_urls_cost_far_less_than_keeping_them"


def _hoard(file: str, text: str, what: str, part: str) -> Guard:
    """Behind ``text``, a statement on a line of its own, keep ``what`` for ever."""
    indented = text[: len(text) - len(text.lstrip())]
    return Guard(
        file, text, (f"{_TEST}[{part}]",), f"{text}{indented}globals().setdefault('kept', []).append({what})\n"
    )


GUARDS = (
    *(
        Guard("producer/job/feeder.py", text, (f"tests/unit/producer/job/test_feeder.py::{test}",), instead)
        for text, test, instead in (
            (
                "+ more >= self._lead",
                "test_a_host_with_most_lines_keeps_nobody_behind_it_killed_or_not[0]",
                "+ more >= self._window",
            ),
            (
                "selected is not None and self._has_head_start",
                "test_hosts_that_are_read_within_a_second_have_their_part_of_the_first_batches",
                "False",
            ),
            (
                "[] if selected is not None and",
                "test_a_list_that_comes_slowly_or_takes_long_to_read_is_sent_meanwhile",
                "[] if",
            ),
            (
                "self._ahead.urls < ahead",
                "test_batches_larger_than_what_a_step_takes_have_every_line",
                "batches",
            ),
            (
                "self._count_in_line() +",
                "test_batches_kept_open_by_what_hangs_do_not_end_the_feeding_of_a_list_still_read",
                "self._journal.count_uncollected() +",
            ),
            ("self._ahead.urls < MOST_AHEAD and", "test_no_more_is_read_ahead_than_may_lie_on_our_disk", ""),
            ("popped=ahead.popped", "test_a_host_with_most_lines_keeps_nobody_behind_it_killed_or_not[5]", "popped=()"),
        )
    ),
    *(
        Guard(
            "producer/intake/read_ahead.py", text, (f"tests/unit/producer/intake/test_read_ahead.py::{test}",), instead
        )
        for text, test, instead in (
            ("place = earliest", "test_no_host_is_alone_in_a_long_list_that_is_sorted_by_host", "pass"),
            ("missed[host] -= CATCHES_UP - 1", "test_a_host_that_comes_late_catches_up_beside_the_others", "pass"),
            ("known[host] = place + length", "test_hosts_of_a_sorted_list_take_turns", "pass"),
            ("place // _ROUND, []", "test_a_list_of_many_hosts_keeps_its_order", "place, []"),
            ("self._popped.append(number)", "test_what_is_read_is_taken_once_whatever_happens_between", "pass"),
        )
    ),
    Guard("producer/job/feeder.py", "if not self._window or", (f"{_TEST}[Redis]",), "if True or"),
    _hoard("producer/job/manifest_sink.py", "        self.live.end(collected)\n", "rows", "the producer"),
    _hoard("worker/batch/runner.py", "        self._held.remove(batch)\n", "batch", "the worker's pool process"),
)  # fmt: skip
