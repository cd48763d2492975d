-- Count batches of all jobs by state: waiting, held, to be collected and others; changes nothing.
-- KEYS: of this edition, then of the first one: sent, active, jobs, taken, states of hosts, hosts by their last change
-- ARGV: prefix of all jobs' keys in this edition and in the first one, most jobs and hosts examined (the latest)
-- Returns {batches that wait, held, deferred, parked, of paused or cancelled jobs, closed but not collected; jobs known,
-- with open batches, paused; microseconds of the longest wait, time of the last claim ('': unknown), paused hosts}.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local most = tonumber(ARGV[3]) - 1
local waiting, held, deferred, parked, set_aside, closed = 0, 0, 0, 0, 0, 0
local known, active, paused, waited, asked_to_wait = 0, 0, 0, 0, 0
local last = ''

-- Batches in line of a paused or cancelled job are not claimable; they are put aside some at a time.
local function look_at(job, key)
  held = held + redis.call('ZCARD', key .. ':leases')
  deferred = deferred + redis.call('ZCARD', key .. ':due')
  parked = parked + redis.call('ZCARD', key .. ':parcels')
  local state = redis.call('HGET', key, 'state')
  if not state then return end
  local in_line = redis.call('ZCARD', key .. ':line')
  waiting = waiting - in_line
  set_aside = set_aside + in_line + redis.call('ZCARD', key .. ':aside')
  if state == 'paused' then paused = paused + 1 end
end

for edition = 0, 1 do
  local sent, jobs, taken = KEYS[edition * 6 + 1], KEYS[edition * 6 + 3], KEYS[edition * 6 + 4]
  local states, changes, of_jobs = KEYS[edition * 6 + 5], KEYS[edition * 6 + 6], ARGV[edition + 1]
  waiting = waiting + redis.call('ZCARD', sent)
  local is_active = {}
  for _, job in ipairs(redis.call('SMEMBERS', KEYS[edition * 6 + 2])) do
    active = active + 1
    is_active[job] = true
    look_at(job, of_jobs .. job)
  end
  known = known + redis.call('ZCARD', jobs)
  for _, job in ipairs(redis.call('ZRANGE', jobs, 0, most, 'REV')) do
    closed = closed + redis.call('ZCARD', of_jobs .. job .. ':closed')
    -- A paused job without held batches is not among the active ones.
    if not is_active[job] and redis.call('HLEN', of_jobs .. job .. ':batches') > 0 then look_at(job, of_jobs .. job) end
  end
  local oldest = redis.call('ZRANGE', sent, 0, 0, 'WITHSCORES')[2]
  waited = oldest and math.max(waited, now - tonumber(oldest)) or waited
  local claimed = redis.call('HGET', taken, 'last') or ''
  if (tonumber(claimed) or 0) > (tonumber(last) or 0) then last = claimed end
  for _, host in ipairs(redis.call('ZRANGE', changes, 0, most, 'REV')) do
    local ends = tonumber(string.match(redis.call('HGET', states, host) or '0', '^%d+'))
    if ends > now * 1000 then asked_to_wait = asked_to_wait + 1 end
  end
end
waiting = math.max(0, waiting)
waited = waiting > 0 and waited or 0
return {
  waiting, held, deferred, parked, set_aside, closed, known, active, paused, string.format('%.0f', waited * 1e6),
  last, asked_to_wait,
}
