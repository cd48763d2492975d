"""The guards of control: what keeps a job paused or cancelled, and restores it completely."""

from __future__ import annotations

from tests.mutants.guard import Guard

_OPEN, _CLAIM, _CLOSE, _STORE, _SEAL, _SWEEP, _CONTROL, _PRIORITIZE, _WITHDRAW, _KEEP = (
    f"contract/ledger/lua/{name}.lua"
    for name in (
        "open", "claim", "close", "store", "seal", "sweep", "control", "prioritize", "withdraw", "keep_reports"
    )
)  # fmt: skip
_COMES_BACK = "math.max(tonumber(found[6]) or 0, tonumber(least) or 0)"
_PYTHON = "contract/ledger/changing.py"
_ORDERS = "worker/batch/orders.py"
_ASKING = "tests/unit/worker/batch/test_orders.py"
_RUNNER = "tests/unit/worker/batch/test_runner.py"
_FEEDER = "tests/unit/producer/job/test_feeder.py"
_SUMMARY = "tests/unit/producer/display/test_summary.py"
_COMMANDS = "tests/integration/test_control.py"
_WORKERS = "tests/integration/test_control_of_workers.py"
_LEDGER = tuple(f"tests/integration/ledger/test_{name}.py" for name in ("control", "priorities", "turns_of_jobs"))
_MODEL = "tests/integration/ledger/test_model.py"
_PROMISES = "tests/integration/ledger/test_promises.py"
_PARKING = "tests/integration/ledger/test_parking.py"


def _without(file: str, text: str, instead: str = "", *, tests: str = "") -> Guard:
    return Guard(file, text, (tests,) if tests else _LEDGER, instead)


GUARDS = (
    _without(_OPEN, "if state == 'cancelled' then return 0 end"),
    _without(_OPEN, "not state and cjson", "cjson"),
    _without(_PYTHON, "if moved >= _MOVED_AT_ONCE:", "if moved == _MOVED_AT_ONCE:"),
    _without(_PYTHON, "if self.keys_of(job) is self.earlier:", "if False:",
        tests="tests/integration/ledger/test_editions.py"),
    _without("contract/ledger/lua/overview.lua", "if not is_active[job] and", "if false and",
        tests="tests/integration/ledger/test_overview.py"),
    _without("producer/job/status.py", "if state is not JobState.CANCELLED and not record", "if not record",
        tests="tests/unit/producer/job/test_status.py"),
    _without(_OPEN, "if state then\n      redis.call('ZADD'", "if false then\n      redis.call('ZADD'"),
    _without(_OPEN, "state and {6} or {1, 2", "{1, 2"),
    _without(_OPEN, "priority == '0' and KEYS[8] or KEYS[8] .. ':' .. priority", "KEYS[8]"),
    _without(_OPEN, "priority == '0' and 'pass' or 'pass:' .. priority", "'pass'"),
    _without(_OPEN, "  redis.call('ZADD', KEYS[11], priority, priority)\n"),
    _without(_OPEN, "  redis.call('EXPIRE', turns, ARGV[2])\n", tests=_PROMISES),
    _without(_CLAIM, "known[5] or (record", "(record"),
    _without(_CLAIM, "  if known[2] then return nil end\n"),
    _without(_CLAIM, " then redis.call('ZREM', KEYS[6], priority) end", " then return false end"),
    _without(_CLAIM, "priority == '0' and KEYS[5] or KEYS[5] .. ':' .. priority", "KEYS[5]"),
    _without(_CLAIM, ", 0, -1, 'REV')", ", 0, -1)"),
    _without(_CLAIM, "priority == '0' and 'pass' or 'pass:' .. priority", "'pass'"),
    _without(_CLOSE, "if state == 'paused' then redis.call('PERSIST', KEYS[8]) end"),
    _without(_CLOSE, "    if state then\n", "    if false then\n"),
    _without(_CLOSE, "state == 'paused' and {9, 10} or ", ""),
    _without(_STORE, "if is_paused then redis.call('PERSIST', KEYS[4]) end"),
    _without(_STORE, "if not is_paused then", "if true then"),
    _without(_SEAL, "if redis.call('HGET', KEYS[1], 'state') ~= 'paused' then", "if true then"),
    _without(_SWEEP, "left or state == 'cancelled'", "left"),
    _without(_SWEEP, "left or state == 'cancelled'", "state == 'cancelled'"),
    _without(_SWEEP, "if state then\n      redis.call('ZADD'", "if false then\n      redis.call('ZADD'"),
    _without(_SWEEP, "not state and record.attempts", "record.attempts"),
    _without(_SWEEP, "if state == 'paused' then redis.call('PERSIST', key .. part) else", "if true then"),
    _without(_CONTROL, "if was ~= 'cancelled' and found[4] and redis.call('HLEN', KEYS[2]) == 0 then", "if false then"),
    _without(_CONTROL, "if was ~= 'cancelled' and found[4]", "if found[4]"),
    _without(_CONTROL, "if to == 'paused' then redis.call('PERSIST', KEYS[1] .. part) else", "if true then"),
    _without(_CONTROL, "redis.call('PERSIST', KEYS[1] .. part) else redis.call('EXPIRE', KEYS[1] .. part, ARGV[5]) end",
        "redis.call('PERSIST', KEYS[1] .. part) end"),
    _without(_CONTROL, "  redis.call('HDEL', KEYS[1], 'pauser')\n", tests=_MODEL),
    _without(_CONTROL, " and (who == '' or who == pauser)", tests=_MODEL),
    _without(_CONTROL, "was ~= 'cancelled' and was ~= 'finished' then", "was ~= 'finished' then"),
    _without(_CONTROL, "was ~= 'cancelled' and was ~= 'finished' then", "was ~= 'cancelled' then"),
    _without(_CONTROL, "  if wanted == 'cancelled' or was == 'running' or who == '' then\n", "  if true then\n",
        tests=_MODEL),
    _without(_CONTROL, "  redis.call('ZREM', turns, job)\n"),
    _without(_CONTROL, "    if owner == job then set_aside", "    if true then set_aside"),
    _without(_CONTROL, "  redis.call('ZREM', KEYS[5], job .. '/' .. batch)\n"),
    _without(_CONTROL, "    if text then\n", "    if true then\n"),
    _without(_CONTROL, "cjson.decode(text).overdue and KEYS[6] or KEYS[3]", "KEYS[3]"),
    _without(_CONTROL, _COMES_BACK, "tonumber(found[6]) or 0"),
    _without(_CONTROL, _COMES_BACK, "tonumber(least) or 0"),
    _without(_CONTROL, "    redis.call('ZADD', KEYS[9], priority, priority)\n"),
    _without(_PRIORITIZE, "if not found[1] then return 0 end"),
    _without(_PRIORITIZE, "redis.call('HSET', KEYS[1], 'pass', least)\n"),
    _without(_PRIORITIZE, "redis.call('HGET', KEYS[3], ARGV[2] == '0' and 'pass' or 'pass:' .. ARGV[2]) or '0'", "'0'"),
    _without(_PRIORITIZE, "  redis.call('ZADD', KEYS[4], ARGV[2], ARGV[2])\n"),
    _without(_WITHDRAW, "if known[2] ~= 'cancelled' then return false end"),
    _without(_WITHDRAW, "ipairs({KEYS[6], KEYS[5], KEYS[7]})", "ipairs({KEYS[6]})", tests=_PARKING),
    _without(_WITHDRAW, "      redis.call('ZADD', KEYS[4], ends, batch)\n"),
    _without(_KEEP, "if ARGV[4] == '0' then redis.call('PERSIST', ARGV[1] .. batch) else", "if true then"),
    _without(_CONTROL, "  redis.call('HINCRBY', KEYS[8], 'changes', 1)\n"),
    _without(_CLOSE, "tonumber(redis.call('HGET', KEYS[13], 'changes') or 0)", "0"),
    _without(_CLAIM, "return {redis.call('EXISTS', KEYS[7]), '', changes}", "return false"),
    _without(_CLAIM, "record.owns or '', changes,\n}", "record.owns or '', 0,\n}"),
    _without(_ORDERS, "self._known = heard", "self._known = self._changes.number", tests=_ASKING),
    _without(_ORDERS, "self._known = known", "self._known = changes.number", tests=_ASKING),
    _without(_ORDERS, "self._changes.number != self._known or ", tests=_ASKING),
    _without(_ORDERS, "            self._not_before = now + _RETRY_PAUSE\n", tests=_ASKING),
    _without("worker/batch/runner.py", "                batch.is_halted = True\n", tests=_RUNNER),
    _without("worker/batch/runner.py", "        self._stop_halted()\n        if self._is_stopping()",
        "        if self._is_stopping()", tests=_RUNNER),
    _without(_CONTROL, "  redis.call('SADD', KEYS[10], job)\n"),
    _without(_SWEEP, "if is_at_rest or redis.call", "if redis.call"),
    _without(_SWEEP, " and redis.call('ZCARD', leases) == 0"),
    _without("producer/job/feeder.py", "if not self._lists.comes_to_its_end:", "if False:", tests=_FEEDER),
    _without("producer/job/feeder.py", "sum(map(has_content, chunk.lines))", "len(chunk.lines)", tests=_FEEDER),
    _without("producer/job/sender.py", "except CancelledJobError:", "except ZeroDivisionError:", tests=_FEEDER),
    _without("producer/job/sender.py", "control.cancel(self._services.ledger, job.id)", "pass",
        tests=f"{_COMMANDS}::test_a_cancelled_job_that_redis_has_lost_comes_back_cancelled"),
    _without("producer/job/sender.py", "control.pause(self._services.ledger, job.id)", "pass",
        tests=f"{_COMMANDS}::test_a_paused_job_that_redis_has_lost_comes_back_paused"),
    _without("producer/job/halts.py", "if record is not None and record.is_paused and record.pauser:", "if False:",
        tests=f"{_COMMANDS}::test_a_suspended_commands_pause_ends_with_its_next_start"),
    _without("producer/job/halts.py", "if hung_up:", "if False:",
        tests=f"{_COMMANDS}::test_a_suspended_commands_pause_ends_when_its_terminal_is_closed"),
    _without("producer/job/ledger_mirror.py", " and self._is_fed()",
        tests="tests/unit/producer/job/test_ledger_mirror.py"),
    _without("producer/commands/housekeeping.py", " and not record.is_paused",
        tests=f"{_COMMANDS}::test_a_paused_job_waits_and_a_resumed_one_continues"),
    _without("producer/display/summary.py", " or self.is_cancelled else 0", " else 0", tests=_SUMMARY),
    _without("producer/display/summary.py", "self.totals[\"lines\"] + (self.not_read or 0)", "self.totals[\"lines\"]",
        tests=_SUMMARY),
    _without("contract/cluster/dispatch.py", ".{secrets.token_hex(4)}",
        tests=f"{_WORKERS}::test_celerys_revoke_neither_loses_nor_cancels_anything"),
    _without(_PYTHON, "while self._control(job)[2] >= _MOVED_AT_ONCE:", "if self._control(job):"),
    _without(_PYTHON, "            self.move(job)\n        is_resumed", "            pass\n        is_resumed"),
    _without("producer/commands/control.py", "if output is not None:  # the run may have ended", "if False:  #",
        tests=f"{_COMMANDS}::test_a_run_that_ends_during_a_command_is_not_an_outage"),
    _without("producer/commands/control.py", "output is None or producer.cluster_of(output) is not None", "True",
        tests=f"{_COMMANDS}::test_cancelling_succeeds_even_if_the_run_and_its_server_end"),
    _without("producer/commands/run.py", "retrying.call(JobControl(job, cluster).cancel)", "pass",
        tests=f"{_COMMANDS}::test_a_job_whose_command_has_other_options_now_is_cancelled"),
    _without("producer/job/plan.py", "give_up(unfinished)", "pass",
        tests="tests/unit/producer/job/test_fingerprint.py"),
    _without("producer/commands/status.py", "            if is_own:\n", "            if False:\n",
        tests=f"{_COMMANDS}::test_a_run_that_ends_during_a_command_is_not_an_outage"),
    _without("producer/commands/status.py", "watch.is_unreachable and watch.is_own", "False",
        tests="tests/integration/test_status.py::test_a_killed_run_is_reported_with_how_to_resume_it"),
)  # fmt: skip
