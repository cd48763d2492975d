-- Write batches before they are sent; opening one twice changes nothing.
-- KEYS: job, batches, payloads, sent, closed, active
-- ARGV: job id, seconds to keep, then (batch, urls, payload) for each
-- Returns the ids that wait for a worker, or false where the job is unknown.
if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local waiting = {}
for i = 3, #ARGV, 3 do
  local batch = ARGV[i]
  local known = redis.call('HGET', KEYS[2], batch)
  if known then
    if cjson.decode(known).state == 'queued' then waiting[#waiting + 1] = batch end
  elseif not redis.call('ZSCORE', KEYS[5], batch) then
    local record = {state = 'queued', urls = tonumber(ARGV[i + 1]), queued = now, attempts = 0, token = ''}
    redis.call('HSET', KEYS[2], batch, cjson.encode(record))
    redis.call('HSET', KEYS[3], batch, ARGV[i + 2])
    redis.call('ZADD', KEYS[4], now, batch)
    waiting[#waiting + 1] = batch
  end
end
redis.call('SADD', KEYS[6], ARGV[1])
for i = 1, 5 do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
return waiting
