-- Put batches of all jobs back in line whose lease expired or that have come due, and find those that killed their workers
-- too often.
-- KEYS: active, sweeping, watched, sent, overdue, ahead, turns of priority 0, priorities, the other edition's
--       active and sent
-- ARGV: prefix of all jobs' keys, least and most milliseconds until the next sweep, milliseconds of silence after which
--       leases are not ended, most attempts, most batches of a job at once, seconds to keep, seconds a batch must have
--       waited for its message to count as lost
-- Returns {milliseconds until the next sweep}, or {the same, batches put back, worn batches, batches that wait in both
-- editions, how many of ours (up to a bound) have waited so long that their messages may be lost, has the other edition
-- open jobs (1/0), jobs with batches to move or end (contract/ledger/control.py), jobs with parked pieces that are due}.
if not redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) then return {redis.call('PTTL', KEYS[2])} end
local jobs = redis.call('SMEMBERS', KEYS[1])
local others = redis.call('EXISTS', KEYS[9])
if #jobs == 0 then return {tonumber(ARGV[2]), {}, {}, 0, 0, others, {}, {}} end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
-- After a silence (Redis was unreachable, or all workers frozen) expired leases are not their holders' fault: they get
-- until the next sweep to renew them.
local was_watched = redis.call('SET', KEYS[3], '1', 'PX', ARGV[4], 'GET')
local back, worn, unsettled, ready = {}, {}, {}, {}
local rest = tonumber(ARGV[3]) / 1000

for _, job in ipairs(jobs) do
  local key = ARGV[1] .. job
  local batches, leases, due = key .. ':batches', key .. ':leases', key .. ':due'
  local state = redis.call('HGET', key, 'state')
  local left = redis.call('EXISTS', key .. (state and ':line' or ':aside')) == 1
  if left or state == 'cancelled' then unsettled[#unsettled + 1] = job end

  local function each_before(now, from, visit)
    for _, batch in ipairs(redis.call('ZRANGEBYSCORE', from, '-inf', now, 'LIMIT', 0, ARGV[6])) do
      local text = redis.call('HGET', batches, batch)
      if text then visit(batch, cjson.decode(text)) else redis.call('ZREM', from, batch) end
    end
    local head = redis.call('ZRANGE', from, 0, 0, 'WITHSCORES')
    if head[2] then rest = math.min(rest, tonumber(head[2]) - now) end
  end

  local function queue(batch, record)
    redis.call('ZREM', leases, batch)
    redis.call('ZREM', due, batch)
    redis.call('HDEL', KEYS[6], record.token)
    record.state = 'queued'
    record.token = ''
    record.overdue = true
    redis.call('HSET', batches, batch, cjson.encode(record))
    if state then
      redis.call('ZADD', key .. ':aside', now, batch)
      return
    end
    redis.call('ZADD', KEYS[4], now, job .. '/' .. batch)
    redis.call('ZADD', KEYS[5], now, job .. '/' .. batch)
    back[#back + 1] = job .. '/' .. batch
  end

  local function queue_or_wear(batch, record)
    if not state and record.attempts >= tonumber(ARGV[5]) then worn[#worn + 1] = job .. '/' .. batch else queue(batch, record) end
  end

  if was_watched then each_before(now, leases, queue_or_wear) else rest = tonumber(ARGV[2]) / 1000 end
  each_before(now, due, queue)
  local parcel = redis.call('ZRANGE', key .. ':waits', 0, 0, 'WITHSCORES')
  if parcel[2] and not state then
    rest = math.min(rest, tonumber(parcel[2]) - now)
    if tonumber(parcel[2]) <= now then ready[#ready + 1] = job end
  end
  for _, part in ipairs({
    '', ':batches', ':payloads', ':leases', ':due', ':closed', ':line', ':aside', ':waits', ':parcels', ':parked', ':owners',
  }) do
    if state == 'paused' then redis.call('PERSIST', key .. part) else redis.call('EXPIRE', key .. part, ARGV[7]) end
  end
  -- A paused job without held batches needs no sweep.
  local is_at_rest = state == 'paused' and not left and redis.call('ZCARD', leases) == 0
  if is_at_rest or redis.call('HLEN', batches) == 0 then redis.call('SREM', KEYS[1], job) end
end

redis.call('EXPIRE', KEYS[4], ARGV[7])
redis.call('EXPIRE', KEYS[5], ARGV[7])
redis.call('EXPIRE', KEYS[6], ARGV[7])
redis.call('EXPIRE', KEYS[7], ARGV[7])
redis.call('EXPIRE', KEYS[8], ARGV[7])
for _, priority in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1)) do
  redis.call('EXPIRE', KEYS[7] .. ':' .. priority, ARGV[7])
end
-- Nothing can become overdue earlier: renewed and new leases end later than these. Batches due within a quarter of the
-- pause share a sweep.
local next = math.ceil(math.max(tonumber(ARGV[2]) / 4, rest * 1000))
redis.call('SET', KEYS[2], '1', 'PX', next)
local waited = string.format('%.17g', now - tonumber(ARGV[8]))
local have_waited = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', waited, 'LIMIT', 0, ARGV[6])
local all_waiting = redis.call('ZCARD', KEYS[4]) + redis.call('ZCARD', KEYS[10])
return {next, back, worn, all_waiting, #have_waited, others, unsettled, ready}
