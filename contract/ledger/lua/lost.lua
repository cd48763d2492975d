-- Find the batches, of all jobs, whose message was lost, and those of them that killed their worker too often.
-- KEYS: taken, sent, overdue
-- ARGV: what the keys of every job begin with, messages in the queue (-1: the broker cannot tell), seconds before one
--       counts as lost on an empty queue, seconds after which an overtaken one does, most attempts, most batches at once
-- Returns {batches to send, worn batches}.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local waiting = tonumber(ARGV[2])

-- The time before which a message that was sent and not taken is lost, as a bound for ZRANGEBYSCORE; nil: none is.
local function bound()
  if waiting == 0 then return string.format('%.17g', now - tonumber(ARGV[3])) end
  local taken = redis.call('HMGET', KEYS[1], 'highest', 'last', 'mark', 'marked')
  -- A broker that cannot tell: nothing was taken for long, so what waits as long is sent again.
  if waiting < 0 and now - tonumber(taken[2] or 0) >= tonumber(ARGV[4]) then
    return string.format('%.17g', now - tonumber(ARGV[4]))
  end
  if not taken[1] or (taken[4] and now - tonumber(taken[4]) < tonumber(ARGV[4])) then return nil end
  redis.call('HSET', KEYS[1], 'mark', taken[1], 'marked', string.format('%.17g', now))
  return taken[3] and '(' .. taken[3]
end

local send, worn = {}, {}
local before = bound()
if not before then return {send, worn} end
for _, waits in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', before, 'LIMIT', 0, ARGV[6])) do
  local job, batch = string.match(waits, '^(.-)/(.*)$')
  local batches = ARGV[1] .. job .. ':batches'
  local text = redis.call('HGET', batches, batch)
  if not text then
    redis.call('ZREM', KEYS[2], waits)
    redis.call('ZREM', KEYS[3], waits)
  else
    local record = cjson.decode(text)
    if record.attempts >= tonumber(ARGV[5]) then worn[#worn + 1] = waits else
      record.overdue = true
      redis.call('HSET', batches, batch, cjson.encode(record))
      redis.call('ZADD', KEYS[2], now, waits)
      redis.call('ZADD', KEYS[3], now, waits)
      send[#send + 1] = waits
    end
  end
end
return {send, worn}
