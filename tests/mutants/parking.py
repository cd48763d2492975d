"""The guards of URLs that wait for hosts: parked by host, gathered when they come due, open and known all along."""

from __future__ import annotations

from tests.mutants.guard import Guard

_PARKING = "tests/integration/ledger/test_parking.py"
_ROLLED_BACK = "tests/integration/test_rolled_back.py"
_PARTING = "tests/unit/worker/engine/test_parting.py"
_STRAGGLERS = "tests/unit/worker/batch/test_stragglers.py"
_RUNNER = "tests/unit/worker/batch/test_runner.py"
_HELD_BATCH = "tests/unit/worker/batch/test_held_batch.py"
_FEEDER = "tests/unit/producer/job/test_feeder.py"


def _in(script: str, text: str, instead: str = "", *, tests: str = _PARKING) -> Guard:
    return Guard(f"contract/ledger/lua/{script}.lua", text, (tests,), instead)


def _of(file: str, text: str, instead: str, *tests: str) -> Guard:
    return Guard(file, text, tests or (_PARKING,), instead)


GUARDS = (
    _in("close", "    redis.call('ZADD', KEYS[6], '+inf', piece)\n"),
    _in("close", "    redis.call('HDEL', KEYS[2], piece)\n"),
    _in("close", "else\n  redis.call('HDEL', KEYS[3], ARGV[2])\nend", "end\nredis.call('HDEL', KEYS[3], ARGV[2])"),
    _in("close", "if record.owns then redis.call('HDEL', KEYS[17], record.owns) end"),
    _in("close", "piece.due = math.ceil(piece.due / grid) * grid", ""),
    _in("close", "redis.call('HINCRBY', KEYS[16], parcel, piece.urls)"),
    _in("close", "'GT', piece.due", "piece.due", tests="tests/integration/ledger/test_model.py"),
    _in("close", "if redis.call('HEXISTS', KEYS[17], parcel) == 0 then redis.call", "if true then redis.call"),
    _in("close", "if not redis.call('ZSCORE', KEYS[14], record.owns) then", "if false then"),
    _in("close", "    first_due = math.min(first_due, child.due - now)\n"),
    _in("close", "    first_due = math.min(first_due, wait)\n"),
    _in("close", "if redis.call('PTTL', KEYS[18]) > first_due * 1000 then", "if true then"),
    _in("sweep", "math.max(tonumber(ARGV[2]) / 4, rest * 1000)", "math.max(tonumber(ARGV[2]), rest * 1000)",
        tests="tests/integration/ledger/test_recovery.py"),
    _of("contract/ledger/sweep.py", "min(swept.rest, self._pause)", "swept.rest",
        "tests/integration/ledger/test_recovery.py"),
    _of("worker/engine/results.py", "replace(each, after=max(0.0, due - now)) for", "each for", _PARTING),
    _of("worker/engine/results.py", "if not (self.outcomes or self._left) or", "if not self.outcomes or", _PARTING),
    _of("worker/engine/results.py", "self._left, self._first_due, self.busy = [], [], inf, 0.0",
        "self._left, self.busy = [], [], 0.0", _PARTING),
    _of("worker/batch/held_batch.py", " or self.is_due", "", _STRAGGLERS),
    _of("worker/batch/runner.py", "                self._hand_off_due()\n", "", _STRAGGLERS),
    _of("worker/batch/runner.py", " and not (self._is_draining or batch.is_halted)", "", _STRAGGLERS),
    _of("worker/batch/runner.py", "batch.is_due and batch.may_part(now) and", "batch.may_part(now) and", _STRAGGLERS),
    _in("close", "9, 10, 14, 15, 16, 17}", "9, 10}"),
    _in("gather", "if not known[2] or known[3] then return {} end", "if not known[2] then return {} end"),
    _in("gather", "if not text then return 0 end", "", tests=_PARKING),
    _in("gather", "ends - piece.due < patience and ends or 0", "ends"),
    _in("gather", "ends = math.min(ends, state and", "ends = math.max(ends == math.huge and 0 or ends, state and"),
    _in("gather", "    redis.call('ZADD', KEYS[3], ends, parcel)\n"),
    _in("gather", "record.late = math.max(0, due - record.due)", "record.late = 0"),
    _in("gather", "    if text then\n      local record", "    if true then\n      local record"),
    _in("gather", "if redis.call('HINCRBY', KEYS[5], parcel, -count) <= 0 then", "if false then"),
    _in("gather", "if size < 1 then size = 500 end"),
    _in("gather", "    record.state = 'gathered'\n"),
    _in("gather", "  head.pieces = names[1] and names\n"),
    _in("gather", "    redis.call('HSET', KEYS[6], owns, batch)\n"),
    _in("gather", "  redis.call('ZADD', KEYS[7], now, ARGV[1] .. '/' .. batch)\n"),
    _in("gather", "  elseif tonumber(redis.call('HGET', KEYS[5], parcel) or 0) > size then", "  elseif false then"),
    _in("gather", "  while pooled >= size and pool[1] do", "  while false do"),
    _in("gather", "if pool[1] then form(pool, pooled) end"),
    _in("drain", "'-inf', '(+inf', 'BYSCORE', 'LIMIT', 0, ARGV[3])", "0, tonumber(ARGV[3]) - 1)"),
    _in("drain", "if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then", "if true then"),
    _in("drain", "redis.call('HDEL', KEYS[6], ARGV[i])", ""),
    _in("open", "    largest = math.max(largest, tonumber(ARGV[i + 1]))\n"),
    _in("sweep", "tonumber(parcel[2]) <= now then ready", "false then ready"),
    _in("sweep", "':waits', ':parcels', ':parked', ':owners'"),
    _in("control", "':waits', ':parcels', ':parked', ':owners'", "''"),
    _in("withdraw", "for _, each in ipairs({piece, redis.call", "for _, each in ipairs(false and {piece, redis.call"),
    _in("withdraw", "KEYS[6], KEYS[5], KEYS[7]}", "KEYS[6], KEYS[5]}"),
    _in("withdraw", "if redis.call('EXISTS', KEYS[7]) == 0 then redis.call('DEL', KEYS[8], KEYS[9]) end"),
    _of("contract/ledger/ledger.py", "parts, bool(owns))", "parts)"),
    _of("worker/batch/runner.py", "            ready += self._gather(claim.job)\n", "            pass\n", _RUNNER),
    _of("worker/batch/runner.py", "if claim.is_owner:", "if True:", _RUNNER),
    _of("contract/ledger/ledger.py", "            report = structs.replace(report, gathered=",
        "            structs.replace(report, gathered="),
    _of("contract/ledger/values.py", "waited=each.waited + piece.late", "waited=each.waited"),
    _of("contract/ledger/values.py", "pieces=(), is_owner=False)", "is_owner=False)"),
    _of("contract/ledger/values.py", "pieces=(), is_owner=False)", "pieces=())"),
    _of("producer/job/manifest_sink.py", "any(batch in again or", "any(", _ROLLED_BACK),
    _of("producer/job/manifest_sink.py", "collected = [batch for report in reports for batch in _batches_of(report)]",
        "collected = [report.batch for report in reports]", _ROLLED_BACK),
    _of("producer/job/feeder.py", "fed + more < self._window and size <", "size <", _FEEDER),
    _of("producer/job/feeder.py", " and size < _MOST_HANDED_OFF", "", _FEEDER),
    _of("producer/storage/journal.py", "FILTER (WHERE instr(batch, '.') = 0)", "", _FEEDER),
    _of("worker/batch/held_batch.py", "for each in leftovers if each.host and parks), key",
        "for each in leftovers if each.host and parks and each.after), key", _HELD_BATCH),
    _of("worker/batch/runner.py", " and not child.hosts]", "]", _STRAGGLERS),
    _of("worker/engine/run.py", "is_due(self._clock.now() + within)", "is_due(self._clock.now())", _PARTING),
    _of("worker/batch/held_batch.py", "if urls >= _A_PIECE]", "]", _HELD_BATCH),
    _of("worker/batch/held_batch.py", "if each.host and parks), key", "if each.host), key", _HELD_BATCH),
)  # fmt: skip
