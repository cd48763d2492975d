-- Write batches, before messages are sent for them; opening one twice changes nothing.
-- KEYS: job, batches, payloads, closed, active, sent, line, turns of priority 0, taken, aside, priorities, the other
--       edition's sent
-- ARGV: job id, seconds to keep, version of the entries, number of the queue's lists (0: the broker is not this Redis),
--       their keys, then (batch, urls, payload) for each
-- Returns the ids that need a message: those that wait for a worker, at most as many as the queue lacks. Returns false if
-- the job is unknown, 0 if it is cancelled; then nothing is opened.
local opened = redis.call('HMGET', KEYS[1], 'policy', 'opened', 'pass', 'state', 'priority', 'size')
if not opened[1] then return false end
local state, priority = opened[4], opened[5] or '0'
if state == 'cancelled' then return 0 end
local highest, largest = tonumber(opened[2] or 0), tonumber(opened[6] or 0)
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local waiting = {}
local lists = tonumber(ARGV[4])
for i = 5 + lists, #ARGV, 3 do
  local batch = ARGV[i]
  local known = redis.call('HGET', KEYS[2], batch)
  if known then
    if not state and cjson.decode(known).state == 'queued' then waiting[#waiting + 1] = batch end
  elseif not redis.call('ZSCORE', KEYS[4], batch) then
    local record = {state = 'queued', urls = tonumber(ARGV[i + 1]), queued = now, attempts = 0, token = ''}
    record.format = tonumber(ARGV[3])
    redis.call('HSET', KEYS[2], batch, cjson.encode(record))
    redis.call('HSET', KEYS[3], batch, ARGV[i + 2])
    if state then
      redis.call('ZADD', KEYS[10], now, batch)
    else
      redis.call('ZADD', KEYS[6], now, ARGV[1] .. '/' .. batch)
      redis.call('ZADD', KEYS[7], now, batch)
      waiting[#waiting + 1] = batch
    end
  end
  -- Only the producer's batches have plain numbers.
  if string.match(batch, '^%d+$') then
    highest = math.max(highest, tonumber(batch))
    largest = math.max(largest, tonumber(ARGV[i + 1]))
  end
end
redis.call('HSET', KEYS[1], 'opened', string.format('%.0f', highest), 'size', string.format('%.0f', largest))
redis.call('SADD', KEYS[5], ARGV[1])
-- A job that had nothing in line returns at the position of the others, or later if it has had more: it saves no turns.
if not state and redis.call('EXISTS', KEYS[7]) == 1 then
  local turns = priority == '0' and KEYS[8] or KEYS[8] .. ':' .. priority
  local least = redis.call('HGET', KEYS[9], priority == '0' and 'pass' or 'pass:' .. priority)
  local pass = math.max(tonumber(opened[3]) or 0, tonumber(least) or 0)
  redis.call('ZADD', turns, 'NX', string.format('%.17g', pass), ARGV[1])
  redis.call('ZADD', KEYS[11], priority, priority)
  redis.call('EXPIRE', turns, ARGV[2])
end
for _, i in ipairs(state and {6} or {1, 2, 3, 4, 6, 7, 11}) do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
-- A message means that some batch waits; the queue may still hold messages of batches that are closed.
if lists > 0 then
  local missing = redis.call('ZCARD', KEYS[6]) + redis.call('ZCARD', KEYS[12])
  for i = 5, 4 + lists do missing = missing - redis.call('LLEN', ARGV[i]) end
  while #waiting > math.max(0, missing) do table.remove(waiting) end
end
return waiting
