-- Take batches of a cancelled job that nobody holds, as a claim does, for whoever ends them.
-- KEYS: job, batches, payloads, leases, due, aside
-- ARGV: how the holder's tokens begin, lease seconds, most batches
-- Returns {policy, {batch, token, opened, attempts, urls, payload, ...}}; false where the job is not cancelled.
local known = redis.call('HMGET', KEYS[1], 'policy', 'state')
if known[2] ~= 'cancelled' then return false end
local time = redis.call('TIME')
local ends = tonumber(time[1]) + tonumber(time[2]) / 1e6 + tonumber(ARGV[2])
local taken = {}
for _, line in ipairs({KEYS[6], KEYS[5]}) do
  for _, batch in ipairs(redis.call('ZRANGE', line, 0, tonumber(ARGV[3]) - 1)) do
    -- The first write is one that Redis allows when it is out of memory; those after it are then allowed too.
    redis.call('ZREM', line, batch)
    local text = redis.call('HGET', KEYS[2], batch)
    if text then
      local record = cjson.decode(text)
      record.state, record.token, record.attempts = 'held', ARGV[1] .. batch, record.attempts + 1
      redis.call('HSET', KEYS[2], batch, cjson.encode(record))
      redis.call('ZADD', KEYS[4], ends, batch)
      local payload = redis.call('HGET', KEYS[3], batch)
      for _, each in ipairs({batch, record.token, tostring(record.queued), record.attempts, record.urls, payload}) do
        taken[#taken + 1] = each
      end
    end
  end
end
return {known[1], taken}
