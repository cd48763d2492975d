-- Claim batches of a cancelled job that no worker holds, for the caller to end them.
-- KEYS: job, batches, payloads, leases, due, aside, parcels, parked, waits
-- ARGV: how the holder's tokens begin, lease seconds, most batches
-- Returns {policy, {batch, token, opened, attempts, urls, payload, pieces (batch, payload, 0 for each), ...}}; false if
-- the job is not cancelled.
local known = redis.call('HMGET', KEYS[1], 'policy', 'state')
if known[2] ~= 'cancelled' then return false end
local time = redis.call('TIME')
local ends = tonumber(time[1]) + tonumber(time[2]) / 1e6 + tonumber(ARGV[2])
local taken = {}
for _, line in ipairs({KEYS[6], KEYS[5], KEYS[7]}) do
  for _, name in ipairs(redis.call('ZRANGE', line, 0, tonumber(ARGV[3]) - 1)) do
    local batch = string.match(name, '[^ ]+$')  -- after its parcel's name
    -- Redis allows this first write even if it is out of memory, and then the writes that follow.
    redis.call('ZREM', line, name)
    local text = redis.call('HGET', KEYS[2], batch)
    if text then
      local record = cjson.decode(text)
      record.state, record.token, record.attempts = 'held', ARGV[1] .. batch, record.attempts + 1
      redis.call('HSET', KEYS[2], batch, cjson.encode(record))
      redis.call('ZADD', KEYS[4], ends, batch)
      local payload = redis.call('HGET', KEYS[3], batch)
      local pieces = {}
      for _, piece in ipairs(record.pieces or {}) do
        for _, each in ipairs({piece, redis.call('HGET', KEYS[3], piece), '0'}) do pieces[#pieces + 1] = each end
      end
      local about = {batch, record.token, tostring(record.queued), record.attempts, record.urls, payload, pieces}
      for _, each in ipairs(about) do
        taken[#taken + 1] = each
      end
    end
  end
end
if redis.call('EXISTS', KEYS[7]) == 0 then redis.call('DEL', KEYS[8], KEYS[9]) end
return {known[1], taken}
