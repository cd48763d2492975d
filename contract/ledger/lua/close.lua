-- In one step: store the report, close the batch, and open batches for what is left.
-- KEYS: job, batches, payloads, leases, due, closed, active, result, sent, overdue, ahead, aside, taken, waits, parcels,
--       parked, owners, sweeping
-- ARGV: job id, batch, holder's token, report, seconds to keep, attempts its children start with, version of their entries,
--       number of counters, (counter, amount) for each, then (child, urls, seconds from now, token, hosts, payload) for
--       each; a child with a token is held under it for so many seconds by the caller (stragglers); one with hosts (JSON:
--       the URLs of each) is parked until these may be asked
-- Returns the number of changes, or false if the batch is not the caller's. If the batch was the only one of its host,
-- other pieces of that host can be gathered now.
local changes = tonumber(redis.call('HGET', KEYS[13], 'changes') or 0)
local text = redis.call('HGET', KEYS[2], ARGV[2])
if not text then
  -- The reply to the holder's first call was lost and its client repeats it: the stored report is its own.
  if redis.call('ZSCORE', KEYS[6], ARGV[2]) and redis.call('GET', KEYS[8]) == ARGV[4] then return changes end
  return false
end
local record = cjson.decode(text)
if record.token ~= ARGV[3] then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
-- Redis allows this first write even if it is out of memory, and then the writes that follow.
redis.call('HDEL', KEYS[2], ARGV[2])
if record.pieces then
  -- The entries of gathered pieces stay until the report is forgotten: a follower that drains reports in order may reach
  -- one that names a piece long before this one, and needs the entries in case Redis loses everything.
  redis.call('HINCRBY', KEYS[1], 'gathered', -#record.pieces)
  for _, piece in ipairs(record.pieces) do
    redis.call('HDEL', KEYS[2], piece)
    redis.call('ZADD', KEYS[6], '+inf', piece)
  end
else
  redis.call('HDEL', KEYS[3], ARGV[2])
end
if record.owns then redis.call('HDEL', KEYS[17], record.owns) end
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('HDEL', KEYS[11], ARGV[3])
redis.call('SET', KEYS[8], ARGV[4], 'EX', ARGV[5])
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'paused' then redis.call('PERSIST', KEYS[8]) end
redis.call('ZADD', KEYS[6], redis.call('HINCRBY', KEYS[1], 'closings', 1), ARGV[2])
-- Park a piece until its hosts may be asked. Due times of pieces with several hosts are rounded up, so that they share
-- batches.
local function park(batch, piece, wait)
  local parcel = next(piece.hosts)
  piece.state, piece.due = 'parked', now + wait
  if next(piece.hosts, parcel) then
    parcel = '/' .. batch
    local grid = 2 ^ math.max(0, math.floor(math.log(math.max(wait, 8) / 8) / math.log(2)))
    piece.due = math.ceil(piece.due / grid) * grid
  end
  redis.call('ZADD', KEYS[15], 0, parcel .. ' ' .. batch)
  redis.call('HINCRBY', KEYS[16], parcel, piece.urls)
  if redis.call('HEXISTS', KEYS[17], parcel) == 0 then redis.call('ZADD', KEYS[14], 'GT', piece.due, parcel) end
end

local first_due = math.huge
local after_counters = 9 + 2 * tonumber(ARGV[8])
for i = 9, after_counters - 1, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = after_counters, #ARGV, 6 do
  local wait = tonumber(ARGV[i + 2])
  local child = {state = 'queued', urls = tonumber(ARGV[i + 1]), queued = record.queued, token = ARGV[i + 3]}
  child.attempts = tonumber(ARGV[6])
  child.format = tonumber(ARGV[7])
  if child.token ~= '' then
    child.state = 'held'
    child.attempts = record.attempts
    redis.call('ZADD', KEYS[4], now + wait, ARGV[i])
  elseif ARGV[i + 4] ~= '' then
    child.hosts = cjson.decode(ARGV[i + 4])
    park(ARGV[i], child, wait)
    first_due = math.min(first_due, child.due - now)
  elseif wait > 0 then
    child.state = 'deferred'
    first_due = math.min(first_due, wait)
    redis.call('ZADD', KEYS[5], now + wait, ARGV[i])
  else
    child.overdue = true
    if state then
      redis.call('ZADD', KEYS[12], now, ARGV[i])
    else
      redis.call('ZADD', KEYS[9], now, ARGV[1] .. '/' .. ARGV[i])
      redis.call('ZADD', KEYS[10], now, ARGV[1] .. '/' .. ARGV[i])
    end
  end
  redis.call('HSET', KEYS[2], ARGV[i], cjson.encode(child))
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 5])
end
if record.owns and redis.call('HEXISTS', KEYS[16], record.owns) == 1 then
  if not redis.call('ZSCORE', KEYS[14], record.owns) then redis.call('ZADD', KEYS[14], now, record.owns) end
end
-- No sweep happens before this key expires; shorten it if something comes due sooner.
if redis.call('PTTL', KEYS[18]) > first_due * 1000 then
  redis.call('SET', KEYS[18], '1', 'PX', math.max(1, math.ceil(first_due * 1000)))
end
local kept = state == 'paused' and {9, 10} or {1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 17}
for _, i in ipairs(kept) do redis.call('EXPIRE', KEYS[i], ARGV[5]) end
if redis.call('HLEN', KEYS[2]) == 0 then redis.call('SREM', KEYS[7], ARGV[1]) end
-- Celery's clients wait for a result on the channel of its key (celery 5.7 backends/redis.py, RedisBackend._set).
redis.call('PUBLISH', KEYS[8], ARGV[4])
-- Our followers wait on the job's channel.
redis.call('PUBLISH', KEYS[1], ARGV[2])
return changes
