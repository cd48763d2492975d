"""The guards of what people see of a job: what is reported as holding it up really does."""

from __future__ import annotations

from tests.mutants.guard import Guard

_WAITS = ("tests/unit/worker/engine/test_waits.py",)
_OPEN_BATCHES = ("tests/integration/ledger/test_open_batches.py",)
_HOLD_UP = ("tests/unit/producer/job/test_hold_up.py",)
_OBSERVER = ("tests/unit/producer/job/test_observer.py",)
_LANE = ("tests/unit/worker/engine/test_time_of_urls.py", "-k", "busy_lane")
_RATES = ("tests/unit/producer/job/test_rates.py",)
_SCREEN = ("tests/unit/producer/display",)
_CHARTS = ("tests/unit/producer/job_report/test_figures.py",)
_COMPARE = ("tests/unit/producer/commands/test_compare.py",)
_HEALTH = ("tests/integration/ledger/test_health.py",)

GUARDS = (
    Guard("producer/job_report/timeline.py", "        self.offsets += amount * offset\n", _CHARTS),
    Guard("producer/job_report/timeline.py", " + later * theirs.change", _CHARTS),
    Guard("producer/job_report/timeline.py", "_NARROWEST = 1 / 4", _CHARTS, "_NARROWEST = 1 / 16"),
    Guard("producer/job_report/timeline.py", "max(started, end - transfer)", _CHARTS, "end"),
    Guard("producer/commands/compare.py", "min(row.timing.total, sum(each.seconds for each in row.attempts))", _COMPARE,
        "row.timing.total"),
    Guard("producer/commands/compare.py", " * min(own, first.tally.elapsed) / fetched", _COMPARE, " * own / fetched"),
    Guard("producer/job/fingerprint.py", '_OPTIONS.get(name, name.replace("_", "-"))',
        ("tests/unit/producer/cli/test_options.py",), "name"),
    Guard("producer/job/fingerprint.py", "json.loads(json.dumps(_chosen(policy)))",
        ("tests/unit/producer/job/test_fingerprint.py",), "_chosen(policy)"),
    Guard("worker/engine/lane.py", "            self._note_waits(now)\n", _WAITS),
    Guard("worker/engine/lookups.py", ">= QUIET_AFTER:\n                for transfer, _", _WAITS,
        ">= 0:\n                for transfer, _"),
    Guard("worker/engine/results.py", "            self._errors.clear()\n", _WAITS),
    Guard("contract/ledger/reading.py", "elsewhere=max(0, held - running)", _OPEN_BATCHES, "elsewhere=0"),
    Guard("contract/ledger/ledger.py", 'flat += [f"{ERROR.decode()}{error}", amount]', _OPEN_BATCHES, "flat += []"),
    Guard("contract/ledger/health.py", "if age < _FORGOTTEN_AFTER}", _HEALTH, "}"),
    Guard("contract/ledger/lua/beat.lua", "  redis.call('ZREM', KEYS[1], gone)\n", _HEALTH),
    Guard("worker/health.py", "            self._beat()\n", ("tests/unit/worker/test_health.py",)),
    Guard("producer/job/hold_up.py", "if not facts.is_flowing:", _HOLD_UP, "if True:"),
    Guard("producer/job/hold_up.py", "if batches.running or batches.waiting or batches.due is None:", _HOLD_UP,
        "if batches.due is None:"),
    Guard("producer/job/hold_up.py", " or facts.flying > facts.quiet:", _HOLD_UP, ":"),
    Guard("producer/job/hold_up.py", "elif batches is None or not batches.running:", _HOLD_UP, "else:"),
    Guard("worker/engine/rows.py", "fetched.at, _lag(exchange, fetched))", _LANE, "fetched.at, 0.0)"),
    Guard("producer/job/observer.py", "        if self._is_all_silent():\n            return None\n", _OBSERVER),
    Guard("producer/job/observer.py", "        self._note_state(seen.record)\n", _OBSERVER),
    Guard("producer/job/observer.py", "self.batches is not None and not self.batches.running", _OBSERVER, "False"),
    Guard("producer/job/rates.py", "since < _BASIS_SECONDS or ", _RATES),
    Guard("producer/job/rates.py", " or came < _BASIS_ROWS:", _RATES, ":"),
    Guard("producer/formatting.py", "    shown = one_line(text)\n", _SCREEN, "    shown = text\n"),
    Guard("producer/formatting.py", "for word in one_line(text).split():", _SCREEN, "for word in text.split():"),
    Guard("producer/display/console.py", "        shown = one_line(line)\n", _SCREEN, "        shown = line\n"),
    Guard("producer/display/console.py", "transient=True", _SCREEN, "transient=False"),
    Guard("producer/display/console.py", ' + halves * "\\x1b[A\\x1b[2K"', _SCREEN),
    Guard("producer/display/console.py", ' not in ("dumb", "unknown")', _SCREEN, ' != "nothing"'),
)  # fmt: skip
