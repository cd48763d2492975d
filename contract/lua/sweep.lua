-- Find a job's batches that want a message again, and those that killed their worker too often.
-- KEYS: job, batches, payloads, sent, leases, due, closed, overdue, active
-- ARGV: job id, may leases be ended (1/0), messages sent before are lost (a ZRANGEBYSCORE bound; '': none is),
--       most attempts, most batches at once, seconds to keep
-- Returns {batches to send, worn batches}.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local send, worn = {}, {}

local function each_before(bound, key, visit)
  for _, batch in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', bound, 'LIMIT', 0, ARGV[5])) do
    local text = redis.call('HGET', KEYS[2], batch)
    if text then visit(batch, cjson.decode(text)) else redis.call('ZREM', key, batch) end
  end
end

local function queue(batch, record)
  redis.call('ZREM', KEYS[5], batch)
  redis.call('ZREM', KEYS[6], batch)
  record.state = 'queued'
  record.token = ''
  record.overdue = true
  redis.call('HSET', KEYS[2], batch, cjson.encode(record))
  redis.call('ZADD', KEYS[4], now, batch)
  redis.call('ZADD', KEYS[8], now, batch)
  send[#send + 1] = batch
end

local function queue_or_wear(batch, record)
  if record.attempts >= tonumber(ARGV[4]) then worn[#worn + 1] = batch else queue(batch, record) end
end

if ARGV[2] == '1' then each_before(now, KEYS[5], queue_or_wear) end
each_before(now, KEYS[6], queue)
if ARGV[3] ~= '' then each_before(ARGV[3], KEYS[4], queue_or_wear) end
for i = 1, 8 do redis.call('EXPIRE', KEYS[i], ARGV[6]) end
if redis.call('HLEN', KEYS[2]) == 0 then redis.call('SREM', KEYS[9], ARGV[1]) end
return {send, worn}
