-- Write batches before they are sent; opening one twice changes nothing.
-- KEYS: job, batches, payloads, closed, active, sent
-- ARGV: job id, seconds to keep, then (batch, urls, payload) for each
-- Returns the ids that wait for a worker, or false where the job is unknown.
local opened = redis.call('HMGET', KEYS[1], 'policy', 'opened')
if not opened[1] then return false end
local highest = tonumber(opened[2] or 0)
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local waiting = {}
for i = 3, #ARGV, 3 do
  local batch = ARGV[i]
  local known = redis.call('HGET', KEYS[2], batch)
  if known then
    if cjson.decode(known).state == 'queued' then waiting[#waiting + 1] = batch end
  elseif not redis.call('ZSCORE', KEYS[4], batch) then
    local record = {state = 'queued', urls = tonumber(ARGV[i + 1]), queued = now, attempts = 0, token = ''}
    redis.call('HSET', KEYS[2], batch, cjson.encode(record))
    redis.call('HSET', KEYS[3], batch, ARGV[i + 2])
    redis.call('ZADD', KEYS[6], now, ARGV[1] .. '/' .. batch)
    waiting[#waiting + 1] = batch
  end
  -- What a producer opens is numbered; what is opened in place of another has a name of its own.
  if string.match(batch, '^%d+$') then highest = math.max(highest, tonumber(batch)) end
end
redis.call('HSET', KEYS[1], 'opened', string.format('%.0f', highest))
redis.call('SADD', KEYS[5], ARGV[1])
for _, i in ipairs({1, 2, 3, 4, 6}) do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
return waiting
