"""The guards of throttling: who an answer is about, pauses, probes, paces, patience."""

from __future__ import annotations

from tests.mutants.guard import Guard

_EVIDENCE = "worker/engine/evidence.py"
_HOSTS = "worker/engine/hosts.py"
_RECORD = "worker/engine/host_record.py"
_PACE = "worker/engine/pace.py"
_THROTTLING = "worker/engine/throttling.py"
_TRANSFER = "worker/engine/transfer.py"
_TRIALS = "worker/engine/trials.py"
_RECENT = "worker/engine/recent_answers.py"
_SCHEDULE = "worker/engine/schedule.py"
_THEORIES = "worker/engine/theories.py"
_SPLITS = "tests/unit/worker/engine/splits/test_split.py"


def _of(text: str, test: str, instead: str) -> Guard:
    return Guard(_HOSTS, text, (f"tests/unit/worker/engine/test_hosts.py::{test}",), instead)


def _one(file: str, text: str, test: str, instead: str) -> Guard:
    """A guard of one host, tested with all of them."""
    return Guard(file, text, (f"tests/unit/worker/engine/test_hosts.py::{test}",), instead)


def _paced(text: str, test: str, instead: str) -> Guard:
    return Guard(_PACE, text, (f"tests/unit/worker/engine/test_pace.py::{test}",), instead)


def _telling(file: str, text: str, test: str, instead: str) -> Guard:
    """A guard of the evidence about a host, tested as a whole."""
    return Guard(file, text, (f"tests/unit/worker/engine/test_evidence.py::{test}",), instead)


def _probing(text: str, test: str, instead: str) -> Guard:
    return Guard("worker/engine/probing.py", text, (f"tests/unit/worker/engine/test_probing.py::{test}",), instead)


def _shared(text: str, tests: str, instead: str = "") -> Guard:
    return Guard(
        "contract/ledger/lua/hosts.lua", text, ("tests/integration/ledger/test_hosts.py", "-k", tests), instead
    )


def _met(file: str, text: str, test: str, instead: str) -> Guard:
    return Guard(file, text, (f"tests/unit/worker/engine/test_throttling.py::{test}",), instead)


def _met_by_url(file: str, text: str, test: str, instead: str) -> Guard:
    return Guard(file, text, (f"tests/unit/worker/engine/test_throttling_by_url.py::{test}",), instead)


GUARDS = (
    _one(_RECENT, "if now - at > _WITHIN]", "test_the_third_url_within_ten_seconds_pauses_the_host",
        "if False]"),
    _of("if record is not None and begun < record.stepped:",
        "test_answers_to_requests_begun_before_an_incident_belong_to_it", "if False:"),
    _of("if record is not None and begun >= record.stepped:",
        "test_an_inconclusive_earlier_answer_allows_no_second_probe", "if record is not None:"),
    _one(_RECORD, "        if begun < self.stepped:\n",
        "test_good_answers_to_what_was_in_flight_do_not_restart_the_curve", "        if False:\n"),
    _one("worker/engine/probing.py", "begun < self._since or", "test_a_probe_is_answered_when_its_body_begins",
        ""),
    _one(_RECORD, "self.until = now + longer(asked)", "test_a_longer_wait_in_a_late_answer_counts", "pass"),
    _one(_RECORD, "if now + asked > self.until:",
        "test_jitter_is_added_once_and_not_per_late_answer", "if True:"),
    _one(_RECORD, "self._streak = 1 if self.pace.answered >= _FORGIVEN else self._streak + 1",
        "test_pauses_double_per_incident_up_to_a_limit_until_the_host_answers", "self._streak += 1"),
    _one("worker/engine/probing.py", "now - self._probed < _LASTS or",
        "test_one_request_probes_and_the_others_wait_for_its_answer", ""),
    Guard(_RECENT, "return count / max(1.0, span) if count >= _SAMPLE else 0.0",
        ("tests/unit/worker/engine/test_recent_answers.py::test_few_answers_make_no_pace",),
        "return count / max(1.0, span)"),
    _paced("self._ceiling = max(_LOWEST, _KEPT * worked)", "test_a_pace_starts_below_the_one_that_worked_and_rises",
        "self._ceiling = worked"),
    _paced("elif now - self._limited_at < 1.0:", "test_an_unused_pace_does_not_rise", "else:"),
    _paced("        if self.rate == inf:\n            self.rate, self._ceiling = learned",
        "test_a_pace_learned_here_is_not_replaced_by_that_of_another_process",
        "        if True:\n            self.rate, self._ceiling = learned"),
    _of("if asked is not None and record.pace.rate == inf:",
        "test_a_requested_wait_limits_no_pace_if_few_are_refused", "if False:"),
    _one(_PACE, "self.rate == inf and self.refused > max(1.0, tolerated(self.good))",
        "test_a_requested_wait_limits_no_pace_if_few_are_refused", "False"),
    _one(_RECORD, "        self.pace.refused += 1\n",
        "test_a_requested_wait_limits_no_pace_if_few_are_refused", ""),
    _one(_PACE, "            self.good, self._worked = good, worked\n        self.refused += 1",
        "test_a_host_that_refuses_its_probe_too_has_a_limit",
        "            self.good, self._worked = good, worked\n            self.refused += 1"),
    _one(_RECORD, "self.pace.good += 1", "test_good_answers_to_requests_in_flight_show_that_few_were_refused", "pass"),
    _one(_RECENT, "if self._throttled.count(key, now) <= tolerated(self.good.count(key, now)):",
        "test_three_urls_among_many_good_ones_pause_no_host", "if False:"),
    _met("worker/engine/lane.py", "self._hosts.answers(transfer.host_key, exchange.began, now, name_asked(transfer))",
        "test_a_probe_that_drips_keeps_no_other_url_of_its_host_waiting", "pass"),
    _met(_HOSTS, "asked > LONGEST_ASKED", "test_one_absurd_answer_does_not_block_its_host",
        "False"),
    _met(_THROTTLING, "status=transfer.last_status", "test_a_long_pause_costs_one_probe_and_ends_with_patience",
        "status=pause.status"),
    _met(_TRANSFER, "        if self.throttled_with != entry.status:\n",
        "test_a_blocked_url_has_the_status_of_its_own_last_answer", "        if False:\n"),
    _met(_TRANSFER, "            self.throttled_with = None\n",
        "test_an_attempt_after_a_throttled_request_has_the_last_status", "            pass\n"),
    _met_by_url(_THROTTLING, "if transfer.is_under_way or is_wanted(key, name, now):",
        "test_a_url_that_is_always_throttled_does_not_probe_if_another_is_ready", "if True:"),
    _met_by_url(_THROTTLING, "if pause is None and transfer.alone_for:",
        "test_urls_that_are_always_throttled_do_not_stop_their_host", "if False:"),
    _met_by_url(_HOSTS, "if is_the_hosts is not None:", "test_urls_that_are_always_throttled_do_not_stop_their_host",
        "if False:"),
    _one(_RECORD, "is_settled = self.is_open and self.stepped <= begun < self.pace.resumed",
        "test_requests_in_flight_when_the_host_opens_begin_no_incident", "is_settled = False"),
    _of("                record.evidence.by_url.believe()\n", "test_other_processes_learn_that_a_host_throttles_by_url",
        "                pass\n"),
    _one(_RECORD, "            self._share()\n        self._is_by_url",
        "test_other_processes_learn_that_a_host_throttles_by_url", "            pass\n        self._is_by_url"),
    _one(_RECORD, "is_answering=self.is_open and self.pace.answered > 0",
        "test_a_new_url_pauses_such_a_host_if_none_was_answered_since", "is_answering=self.is_open"),
    _one(_RECORD, "if not self.is_open and now >= self.until:",
        "test_another_process_does_not_end_a_longer_pause", "if not self.is_open:"),
    _one(_RECORD, "if self.is_shared or self.until - now >= SHARED_FROM:",
        "test_a_longer_wait_in_a_late_answer_counts", "if self.is_shared:"),
    _one(_RECORD, "            if not self.is_open:\n                probing.again(now)\n",
        "test_a_probe_throttled_because_of_its_url_is_followed_by_another", ""),
    _one(_RECORD, "            self.evidence.by_url.trials.doubt()\n",
        "test_after_two_trials_that_point_at_the_host_its_next_probe_opens_it", "            pass\n"),
    _one(_RECORD, "        self.evidence.by_url.trials.pause()\n", "test_a_url_may_be_tried_again_after_the_next_pause",
        ""),
    _of(" and not record.probing.wants(name)", "test_a_suspect_that_comes_late_is_still_tried", ""),
    _telling(_TRIALS, "        self._doubts = 0\n        self.accused",
        "test_a_host_convicted_by_trials_has_fewer_of_them", "        self.accused"),
    _telling(_EVIDENCE, "            self.by_url.forget()\n",
        "test_throttled_urls_are_not_remembered_for_ever", ""),
    _one(_RECORD, "self.evidence.suspect(state.name, now)",
        "test_other_processes_learn_which_url_a_pause_began_with", "pass"),
    Guard("worker/engine/lane.py", "        self._flow.host_waits.note(waits, now)\n",
        ("tests/unit/worker/engine/test_waits.py", "-k", "throttl"), "        pass\n"),
    Guard("producer/job/observer.py",
        "            throttling={_shown(host): left for host, left in live.throttling.items()},\n",
        ("tests/unit/producer/job/test_observer.py", "-k", "throttling"), ""),
    _telling(_TRIALS, "self.accused.clear()\n        self.in_succession = 0",
        "test_a_trial_that_ends_otherwise_restarts_the_count", "pass"),
    _telling(_THEORIES, "self._caution.need(_SEVERAL)", "test_one_such_url_says_nothing_of_others",
        "self._caution.need(_SEVERAL) - 1"),
    _telling(_THEORIES, "elif self.holds and is_answering:",
        "test_new_urls_count_as_such_only_while_others_are_answered", "elif self.holds:"),
    _telling(_THEORIES, "if self._in_a_row == _IN_A_ROW and self.holds:",
        "test_eight_new_urls_in_a_row_mean_the_host_throttles", "if False:"),
    _met_by_url(_THEORIES, "if self._in_a_row == _IN_A_ROW and self.holds:",
        "test_a_host_that_throttles_everything_after_a_while_costs_no_url_its_attempts", "if False:"),
    _telling(_THEORIES, "        self._in_a_row = 0\n        if was_suspect",
        "test_with_good_answers_in_between_many_urls_may_be_such", "        if was_suspect"),
    _telling(_THEORIES, "            if self.explains(name):\n",
        "test_if_one_is_answered_all_is_withdrawn_and_needs_twice_the_evidence",
        "            if False:\n"),
    _telling(_THEORIES, "        self._caution.note_mistake()\n",
        "test_if_one_is_answered_all_is_withdrawn_and_needs_twice_the_evidence", ""),
    _telling(_EVIDENCE, "suspect.times += good_at > suspect.at",
        "test_the_last_url_is_the_reason_if_others_were_answered_meanwhile",
        "suspect.times += 1"),
    _telling(_EVIDENCE, "is_alone and suspect.times >= _TELLING",
        "test_the_last_url_is_the_reason_if_others_were_answered_meanwhile",
        "suspect.times >= _TELLING"),
    _met_by_url(_EVIDENCE, "is_probe and self._probes_in_a_row + 1 >= _PROBES and",
        "test_a_host_slower_than_it_says_costs_no_url_an_attempt", "is_probe and"),
    _telling(_EVIDENCE, " and not self.is_suspects_turn\n",
        "test_a_throttled_url_that_probes_in_turn_is_not_the_last_one", "\n"),
    _telling(_EVIDENCE, "(probes >= _PATIENT and probes % 2 == 1)",
        "test_after_three_new_probes_a_throttled_url_has_every_second_turn", "False"),
    _telling(_EVIDENCE, "self.first_requests.is_likely or",
        "test_after_three_new_probes_a_throttled_url_has_every_second_turn", ""),
    _telling(_THEORIES, "self._times, self._has_again = 0, False",
        "test_four_new_urls_throttled_among_answers_show_throttling_of_first_requests", "pass"),
    _telling(_THEORIES, "elif not self.holds:",
        "test_four_new_urls_throttled_among_answers_show_throttling_of_first_requests", "else:"),
    _telling(_THEORIES, "self._times += self._has_again",
        "test_four_new_urls_throttled_among_answers_show_throttling_of_first_requests", "self._times += 1"),
    _telling(_EVIDENCE, "        if self.first_requests.holds:\n",
        "test_a_second_throttled_request_means_the_host_and_doubles_the_evidence",
        "        if False:\n"),
    _telling(_EVIDENCE, "        self.first_requests.throttled_again()\n",
        "test_a_second_throttled_request_means_the_host_and_doubles_the_evidence", ""),
    _met_by_url("worker/engine/probing.py", "== is_suspects_turn",
        "test_a_host_that_throttles_the_first_request_for_each_url_yields_all", "is False"),
    _met_by_url(_RECORD, "                self.pace.grow(now)  #",
        "test_a_host_that_throttles_the_first_request_for_each_url_yields_all", "                pass  #"),
    _met_by_url(_RECORD, "if is_own or is_first_request:",
        "test_a_host_that_throttles_the_first_request_for_each_url_yields_all", "if is_own:"),
    _met_by_url(_TRANSFER, "own = after if ready_at is None or ready_at > now else 0.0",
        "test_a_host_that_throttles_the_first_request_for_each_url_yields_all", "own = after"),
    _met_by_url("worker/engine/probing.py", "self._is_control_first = self._by_url.trials.is_control_first",
        "test_a_host_that_lets_every_second_request_through_costs_no_url_an_attempt",
        "self._is_control_first = False"),
    _one(_RECORD, "probing.is_first and begun >= self.stepped",
        "test_requests_in_flight_when_a_pause_begins_are_not_its_probe", "probing.is_first"),
    _telling(_TRIALS, "return self._pauses >= min(self._doubts, _MOST_DOUBTS)",
        "test_a_host_convicted_by_trials_has_fewer_of_them", "return True"),
    _telling(_TRIALS, "        self.tried.add(name)\n", "test_a_url_is_tried_once_after_a_pause", "        pass\n"),
    _telling(_EVIDENCE, "if len(self._suspects) >= _MOST:",
        "test_throttled_urls_are_not_remembered_for_ever", "if False:"),
    _probing("return self._evidence.is_suspect(name) == is_suspects_turn",
        "test_a_throttled_url_does_not_probe_but_is_tried_next", "return True"),
    _probing("begun < self._since or", "test_an_answer_from_before_the_trial_is_not_its_controls", ""),
    _probing("gap = min(1.0 / self._pace.rate, _LONGEST_GAP)", "test_a_trial_respects_the_pace", "gap = 0.0"),
    _probing("return over >= LOOK if self._is_trial_next", "test_without_a_suspect_the_host_is_not_kept_waiting",
        "return False if self._is_trial_next"),
    _probing("else self._is_controlled and over >= 0",
        "test_if_a_trial_is_not_answered_its_control_is_enough_after_a_while", "else False"),
    _probing("name != self._on_trial or self._has_failed",
        "test_only_the_first_failure_of_a_url_on_trial_belongs_to_the_trial", "name != self._on_trial"),
    _probing("return self._is_control_first and not self._on_trial",
        "test_without_a_suspect_beside_the_control_the_host_is_not_kept_waiting", "return False"),
    _probing("            self._begin(_Stage.SECOND, now)\n", "test_a_trial_has_one_control",
        "            pass\n"),
    Guard("worker/engine/splits/fetcher.py", "split.put_off(now + wait)",
        (f"{_SPLITS}::test_a_segment_is_retried_when_the_server_says",),
        "self._begin_helper(transfer, split, split.waiting.pop(0), now)"),
    Guard("worker/engine/splits/split.py", "slots = max(1, self.idle + done)",
        (f"{_SPLITS}::test_a_segment_is_retried_when_the_server_says",), "slots = 1"),
    _one(_RECORD, "and not self.asks and not has_answered",
        "test_a_host_that_only_throttles_is_given_up_and_one_that_answered_or_asked_is_not", ""),
    _of("return record.good_at <= excused", "test_an_excused_url_waits_alone_if_others_are_answered",
        "return True"),
    _of(" or self._recent.is_frequent(key, now)", "test_a_few_throttled_answers_among_many_good_ones_pause_nothing",
        " or True"),
    _met(_TRANSFER, "        self.ready_at = now\n        self.excused",
        "test_short_pauses_do_not_count_against_the_deadline_either", "        self.excused"),
    _met(_TRANSFER, "(now - self.began - queued) + own",
        "test_waiting_for_a_host_does_not_count_against_the_deadline", "(now - self.began) + own + waited"),
    _met_by_url(_TRANSFER, "terms.began - entry.waited if entry.waited else inf",
        "test_pages_that_are_always_busy_fail_alone_if_others_are_answered", "inf"),
    Guard(_THROTTLING, "pause.is_given_up or pause.left > HOST_HOLD",
        ("tests/unit/worker/engine/test_lane.py", "-k", "test_urls_that_only_wait_are_handed_back"),
        "pause.is_given_up"),
    _met(_THROTTLING, "lambda each: is_long or is_out_of_patience(each, pause, now)",
        "test_patience_counts_short_pauses_too", "lambda each: is_long"),
    _met(_THROTTLING, "self._hosts.pause(host, now) if host != transfer.host_key else None",
        "test_a_redirect_to_a_paused_host_waits_for_it", "None"),
    Guard("worker/engine/http/retry.py", "wall if sent is None else sent",
        ("tests/unit/worker/engine/http/test_retry.py::test_a_date_is_read_by_the_servers_clock",), "wall"),
    Guard("contract/records/policy.py", '        values.pop("longest_retry_after", None)  # of',
        ("tests/unit/contract/records/test_golden.py::test_records_of_the_first_release_can_be_read",),
        "        pass  # of"),
    _shared("if tonumber(redis.call('HGET', KEYS[3], host) or '0') <= now then", "may_probe", "if true then"),
    _shared("  redis.call('HDEL', KEYS[3], host)\n", "may_probe"),
    _shared("if known > last then known = 0 end", "emptied"),
    _shared("if #changed / 2 == tonumber(ARGV[3]) then last = tonumber(changed[#changed]) end", "returned_in_parts"),
    _shared("'(' .. known", "not_returned_again", "'-inf'"),
    _shared("math.max(kept, redis.call('TTL', key))", "no_state_is_kept", "kept - 300"),
    _shared("if redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, kept) end", "no_state_is_kept"),
    _shared("    if redis.call('TTL', KEYS[3]) == -1 then redis.call('EXPIRE', KEYS[3], keep) end\n",
        "no_state_is_kept"),
    _shared("if ends + keep * 1000 < now then", "no_state_is_kept", "if false then"),
    _shared("math.max(0, tonumber(ends) - now)", "seconds_left", "tonumber(ends)"),
    _of("record.is_shared and self.is_governed and not record.may_probe(now)",
        "test_with_other_processes_one_probes_for_all", "False"),
    _of("[self.hot[key].state(key, now) for key in changed if key in self.hot], wanted",
        "test_a_long_pause_is_news_once_and_a_short_one_is_not",
        "[record.state(key, now) for key, record in self.hot.items()], wanted"),
    _one(_RECORD, "max(self.until, now + state.left), now", "test_a_pause_of_another_process_holds_here",
        "max(self.until, now + state.left), self.stepped"),
    Guard("worker/batch/host_news.py", "self._hosts.is_governed = now - self._heard < _BELIEVED_FOR",
        ("tests/unit/worker/batch/test_host_news.py",), "pass"),
    Guard("worker/batch/host_news.py", "self._hosts.keep_news(states)", ("tests/unit/worker/batch/test_host_news.py",),
        "pass"),
    _of("                del self.hot[each]\n", "test_hosts_no_longer_asked_for_are_forgotten_too",
        "                pass\n"),
    _met(_SCHEDULE, "return host.flying - host.quiet < self._opening + host.prompt",
        "test_a_long_pause_costs_one_probe_and_ends_with_patience", "return True"),
)  # fmt: skip
