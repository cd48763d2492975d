"""The guards of the ledger: every line of its scripts that says no, and what keeps its steps whole."""

from __future__ import annotations

from tests.mutants.guard import Guard

_TESTS = ("tests/integration/test_ledger.py",)
_OPEN, _CLAIM, _RENEW, _CLOSE, _STORE, _SEAL, _SWEEP, _OVERTAKEN = (
    f"contract/lua/{name}.lua" for name in ("open", "claim", "renew", "close", "store", "seal", "sweep", "overtaken")
)
_LEDGER = "contract/ledger.py"


def _without(file: str, text: str, instead: str = "") -> Guard:
    return Guard(file, text, _TESTS, instead)


GUARDS = (
    _without(_OPEN, "if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then return false end"),
    _without(_OPEN, "if cjson.decode(known).state == 'queued' then waiting[#waiting + 1] = batch end"),
    _without(_OPEN, "cjson.decode(known).state == 'queued'", "true"),
    _without(_OPEN, "elseif not redis.call('ZSCORE', KEYS[5], batch) then", "else"),
    _without(_OPEN, "redis.call('SADD', KEYS[6], ARGV[1])"),
    _without(_OPEN, "for i = 1, 5 do redis.call('EXPIRE', KEYS[i], ARGV[2]) end"),
    _without(_STORE, "if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then return -1 end"),
    _without(_STORE, "redis.call('ZSCORE', KEYS[3], ARGV[1]) or "),
    _without(_STORE, " or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1"),
    _without(_STORE, "redis.call('EXPIRE', KEYS[3], ARGV[3])"),
    _without(_SEAL, "if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then return 0 end"),
    _without(_SEAL, "redis.call('EXPIRE', KEYS[1], ARGV[2])"),
    _without(_CLAIM, "if not text then return false end"),
    _without(_CLAIM, "if not job[1] then return false end"),
    _without(_CLAIM, "local again = record.token == ARGV[2]", "local again = record.state == 'held'"),
    _without(_CLAIM, "local again = record.token == ARGV[2]", "local again = false"),
    _without(_CLAIM, "most == 0 and record.state == 'held'", "record.state == 'held'"),
    _without(_CLAIM, " and not (expiry and tonumber(expiry) > now)"),
    _without(_CLAIM, "if record.state ~= 'queued' and not worn then return false end"),
    _without(_CLAIM, "if most > 0 and record.attempts >= most then return record.attempts end"),
    _without(_CLAIM, "redis.call('EXPIRE', KEYS[1], ARGV[5])"),
    _without(_CLAIM, " and not (highest and tonumber(highest) > tonumber(sent))"),
    _without(_CLAIM, "not record.overdue and "),
    _without(_CLAIM, "ARGV[6] == '0' and "),
    _without(_CLAIM, "redis.call('ZREM', KEYS[4], ARGV[1])"),
    _without(_CLAIM, "record.token = ARGV[2]"),
    _without(_CLAIM, "record.attempts = record.attempts + 1"),
    _without(_CLAIM, "redis.call('EXPIRE', KEYS[5], ARGV[5])"),
    _without(_RENEW, "if not text then return 0 end"),
    _without(_RENEW, "if record.token ~= ARGV[2] then return 0 end"),
    _without(_RENEW, "redis.call('EXPIRE', KEYS[2], ARGV[4])"),
    _without(_CLOSE, "redis.call('ZSCORE', KEYS[7], ARGV[2]) and redis.call('GET', KEYS[10]) == ARGV[4]", "false"),
    _without(_CLOSE, " and redis.call('GET', KEYS[10]) == ARGV[4]"),
    _without(_CLOSE, "if record.token ~= ARGV[3] then return 0 end"),
    _without(_CLOSE, "redis.call('HDEL', KEYS[2], ARGV[2])"),
    _without(_CLOSE, "redis.call('HDEL', KEYS[3], ARGV[2])"),
    _without(_CLOSE, "redis.call('ZREM', KEYS[5], ARGV[2])"),
    _without(_CLOSE, "'EX', ARGV[5])", "'EX', 1000000000)"),
    _without(_CLOSE, "child.attempts = tonumber(ARGV[6])", "child.attempts = 0"),
    _without(_CLOSE, "child.state = 'deferred'"),
    _without(_CLOSE, "child.overdue = true"),
    _without(_CLOSE, "redis.call('ZADD', KEYS[8], now, ARGV[i])"),
    _without(_SWEEP, "redis.call('ZADD', KEYS[8], now, batch)"),
    _without(_CLAIM, "redis.call('ZREM', KEYS[7], ARGV[1])"),
    _without(_CLOSE, "for i = 1, 8 do redis.call('EXPIRE', KEYS[i], ARGV[5]) end"),
    _without(_CLOSE, "if redis.call('HLEN', KEYS[2]) == 0 then redis.call('SREM', KEYS[9], ARGV[1]) end"),
    _without(_CLOSE, "redis.call('PUBLISH', KEYS[10], ARGV[4])"),
    _without(_OVERTAKEN, "if waiting == 0 then return string.format('%.17g', now - tonumber(ARGV[2])) end"),
    _without(_OVERTAKEN, "waiting < 0 and "),
    _without(_OVERTAKEN, " and now - tonumber(taken[2] or 0) >= tonumber(ARGV[3])"),
    _without(_OVERTAKEN, "not taken[1] or "),
    _without(_OVERTAKEN, " or (taken[4] and now - tonumber(taken[4]) < tonumber(ARGV[3]))"),
    _without(_OVERTAKEN, "return taken[3] and '(' .. taken[3]", "return taken[3]"),
    _without(_SWEEP, "if text then visit(batch, cjson.decode(text)) else redis.call('ZREM', key, batch) end",
             "visit(batch, cjson.decode(text))"),
    _without(_SWEEP, "else redis.call('ZREM', key, batch) end", "end"),
    _without(_SWEEP, "redis.call('ZREM', KEYS[5], batch)"),
    _without(_SWEEP, "redis.call('ZREM', KEYS[6], batch)"),
    _without(_SWEEP, "record.state = 'queued'"),
    _without(_SWEEP, "record.token = ''"),
    _without(_SWEEP, "record.overdue = true"),
    _without(_SWEEP, "if record.attempts >= tonumber(ARGV[4]) then worn[#worn + 1] = batch else", "if false then else"),
    _without(_SWEEP, "if ARGV[2] == '1' then each_before(now, KEYS[5], queue_or_wear) end",
             "each_before(now, KEYS[5], queue_or_wear)"),
    _without(_SWEEP, "if ARGV[2] == '1' then each_before(now, KEYS[5], queue_or_wear) end"),
    _without(_SWEEP, "each_before(now, KEYS[6], queue)\n"),
    _without(_SWEEP, "if ARGV[3] ~= '' then each_before(ARGV[3], KEYS[4], queue_or_wear) end"),
    _without(_SWEEP, "each_before(ARGV[3], KEYS[4], queue_or_wear)", "each_before(ARGV[3], KEYS[4], queue)"),
    _without(_SWEEP, "for i = 1, 8 do redis.call('EXPIRE', KEYS[i], ARGV[6]) end"),
    _without(_SWEEP, "if redis.call('HLEN', KEYS[2]) == 0 then redis.call('SREM', KEYS[9], ARGV[1]) end"),
    _without(_LEDGER, "pipe.hsetnx(key, name, value)", "pipe.hset(key, name, value)"),
    _without(_LEDGER, "holder, nx=True, px=", "holder, px="),
    _without(_LEDGER, "except MessageError:", "except ZeroDivisionError:"),
    _without(_LEDGER, "pipe.zrem(self._key(job, \"closed\"), *batches)"),
    _without(_LEDGER, "return before is not None", "return True"),
    _without(_LEDGER, "worn=MOST_ATTEMPTS - 2", "worn=MOST_ATTEMPTS - 1"),
)  # fmt: skip
