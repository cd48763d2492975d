-- Claim a batch that waits for a worker; for the sweep, also one that is worn and not held.
-- KEYS: sent, overdue, taken, ahead, turns of priority 0, priorities, the other edition's sent (both share one queue)
-- ARGV: prefix of all jobs' keys, job/batch ('': the next one of any job), holder's token, lease seconds, most attempts
--       (0: for the sweep), seconds to keep, seconds the next one must have waited, is the call for a message (1/0),
--       policy fields the caller can read (each followed by a comma), policy version, version of the entries it can read,
--       digests it cannot compute (likewise), prefix of the keys that exist while some worker can compute each,
--       the keys of the queue's lists (none: the broker is not this Redis)
-- Returns false (closed, held, deferred, unknown), the attempts of a worn batch, or a list that begins with: do batches of
-- the other edition wait (1/0)? Then follow '' and the number of changes if no batch waits, the batch's record and the
-- number of changes, or job/digest if only batches wait that are left to other workers, because the caller cannot read them
-- (then the digest is '') or compute the digest; those lose no attempt.
-- Only this script knows which job's keys it touches. One Redis holds all keys, so only the shared ones are declared.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local most = tonumber(ARGV[5])
local changes = tonumber(redis.call('HGET', KEYS[3], 'changes') or 0)

local function leave_line(waits)
  redis.call('ZREM', KEYS[1], waits)
  redis.call('ZREM', KEYS[2], waits)
  local job, batch = string.match(waits, '^(.-)/(.*)$')
  redis.call('ZREM', ARGV[1] .. job .. ':line', batch)
end

local left, last_left = {}, nil  -- jobs with batches that are left to other workers; the last one, with its digest
local function leave(job, digest)
  left[job], last_left = true, job .. '/' .. digest
end

-- A later version may have added a limit to the policy that the caller would ignore; a digest that the caller lacks may be
-- one that another worker can compute.
local suitable = {}
local function is_suitable(job)
  if suitable[job] ~= nil then return suitable[job] end
  local text = redis.call('HGET', ARGV[1] .. job, 'policy')
  local is_json, policy = pcall(cjson.decode, text or '{}')
  local is_known = is_json and (not text or policy.version == tonumber(ARGV[10]))
  for name in pairs(is_known and policy or {}) do
    is_known = is_known and string.find(',' .. ARGV[9], ',' .. name .. ',', 1, true) ~= nil
  end
  local digest = is_known and policy.digest or ''
  local is_lacking = string.find(',' .. ARGV[12], ',' .. digest .. ',', 1, true)
  if not is_known or (is_lacking and redis.call('EXISTS', ARGV[13] .. digest) == 1) then leave(job, digest) end
  suitable[job] = not left[job]
  return suitable[job]
end

-- Can it be claimed? Nil: not now (its job is paused or cancelled), or not by the caller. Removes it from the line if it
-- never can: its job is gone, it is worn (left to the sweep), or a worker of the first edition claimed it, which knows no
-- lines of jobs.
local function is_claimable(waits)
  local job, batch = string.match(waits, '^(.-)/(.*)$')
  local key = ARGV[1] .. job
  local known = redis.call('HMGET', key, 'policy', 'state')
  if known[2] then return nil end
  local text = known[1] and redis.call('HGET', key .. ':batches', batch)
  local record = text and cjson.decode(text)
  if record and not is_suitable(job) then return nil end
  if record and (record.format or 1) > tonumber(ARGV[11]) then
    leave(job, '')
    return nil
  end
  local waiting = record and record.state == 'queued'
  if waiting and record.attempts < most then return true end
  leave_line(waits)
  if waiting then
    record.state = 'held'
    redis.call('HSET', key .. ':batches', batch, cjson.encode(record))
    redis.call('ZADD', key .. ':leases', now, batch)
  end
  return false
end

-- The first claimable batch in a line. A job's own line holds batch ids without the job's.
local function first_of(line, job)
  local skipped = 0
  for _ = 1, 100 do
    local head = redis.call('ZRANGE', line, skipped, skipped, 'WITHSCORES')
    if not head[1] or now - tonumber(head[2]) < tonumber(ARGV[7]) then return false end
    local claimable = is_claimable(job .. head[1])
    if claimable then return job .. head[1] end
    if claimable == nil then skipped = skipped + 1 end
  end
  return false
end

-- The longest-waiting batch of the job that has had the least for its weight (stride scheduling: Waldspurger and Weihl,
-- 1995).
local least
local function first_in_turns(turns)
  local skipped = 0
  for _ = 1, 100 do
    local turn = redis.call('ZRANGE', turns, skipped, skipped, 'WITHSCORES')
    if not turn[1] then return nil end
    local head = is_suitable(turn[1]) and first_of(ARGV[1] .. turn[1] .. ':line', turn[1] .. '/')
    if head then
      least = turn[2]
      return head
    end
    if left[turn[1]] then
      skipped = skipped + 1
    elseif redis.call('EXISTS', ARGV[1] .. turn[1] .. ':line') == 1 then
      return false
    else
      redis.call('ZREM', turns, turn[1])
    end
  end
end

local function turns_of(priority) return priority == '0' and KEYS[5] or KEYS[5] .. ':' .. priority end

-- Higher priorities come first. Priorities that no job has any more are removed.
local function first_of_jobs()
  for _, priority in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1, 'REV')) do
    local head = first_in_turns(turns_of(priority))
    if head ~= nil then return head end
    if redis.call('EXISTS', turns_of(priority)) == 0 then redis.call('ZREM', KEYS[6], priority) end
  end
  return false
end

-- Lost and handed-off batches come first: they have had their turn. Batches in no job's line (all of the first edition's)
-- come last.
local function next_in_turn()
  return first_of(KEYS[2], '') or first_of_jobs() or first_of(KEYS[1], '')
end

-- Charge a job for a batch: its URLs divided by the job's weight. A job without more to claim leaves the rotation.
local function count_turn(job, urls, weight, priority)
  local key, turns = ARGV[1] .. job, turns_of(priority)
  local pass = redis.call('ZSCORE', turns, job)
  if least then redis.call('HSET', KEYS[3], priority == '0' and 'pass' or 'pass:' .. priority, least) end
  if not pass then return end
  pass = string.format('%.17g', tonumber(pass) + urls / (tonumber(weight) or 1))
  redis.call('HSET', key, 'pass', pass)
  if redis.call('EXISTS', key .. ':line') == 1 then
    redis.call('ZADD', turns, pass, job)
  else
    redis.call('ZREM', turns, job)
  end
end

-- A claim without a message removes one from the queue, which would find no batch.
local function drop_message()
  local spare = -redis.call('ZCARD', KEYS[1]) - redis.call('ZCARD', KEYS[7])
  for i = 14, #ARGV do spare = spare + redis.call('LLEN', ARGV[i]) end
  for i = 14, spare > 0 and #ARGV or 0 do
    local message = redis.call('RPOP', ARGV[i])
    if message and string.find(message, '"trawlnet.batch"', 1, true) then return end
    if message then redis.call('RPUSH', ARGV[i], message) end
  end
end

local waits = ARGV[2]
if waits == '' then
  -- The reply to the holder's first call was lost and its client repeats it: return the same batch.
  waits = redis.call('HGET', KEYS[4], ARGV[3]) or next_in_turn()
  if not waits then
    if last_left then return {redis.call('EXISTS', KEYS[7]), last_left} end
    return {redis.call('EXISTS', KEYS[7]), '', changes}
  end
end
local job, batch = string.match(waits, '^(.-)/(.*)$')
local key = ARGV[1] .. job
local text = redis.call('HGET', key .. ':batches', batch)
if not text then return false end
local known = redis.call('HMGET', key, 'policy', 'secrets', 'weight', 'priority', 'state')
if not known[1] then return false end
local record = cjson.decode(text)
if not is_suitable(job) or (record.format or 1) > tonumber(ARGV[11]) then
  return {redis.call('EXISTS', KEYS[7]), job .. '/'}
end

-- The reply to the holder's first call was lost and its client repeats it.
local again = record.token == ARGV[3]
if not again then
  local expiry = redis.call('ZSCORE', key .. ':leases', batch)
  local worn = most == 0 and record.state == 'held' and not (expiry and tonumber(expiry) > now)
  -- Only the sweep ends an expired lease, not a second copy of the message: the holder may still renew it.
  if known[5] or (record.state ~= 'queued' and not worn) then return false end
  if most > 0 and record.attempts >= most then return record.attempts end
  -- Redis allows this first write even if it is out of memory, and then the writes that follow.
  redis.call('EXPIRE', key, ARGV[6])
  if worn then redis.call('HDEL', KEYS[4], record.token) end
  if redis.call('ZSCORE', KEYS[1], waits) then
    redis.call('HSET', KEYS[3], 'last', tostring(now))
    leave_line(waits)
    if not record.overdue then count_turn(job, record.urls, known[3], known[4] or '0') end
  end
  if ARGV[2] == '' then
    redis.call('HSET', KEYS[4], ARGV[3], waits)
    redis.call('EXPIRE', KEYS[4], ARGV[6])
  end
  if ARGV[2] == '' and ARGV[8] == '0' then drop_message() end
  record.state = 'held'
  record.token = ARGV[3]
  record.attempts = record.attempts + 1
  redis.call('HSET', key .. ':batches', batch, cjson.encode(record))
end
redis.call('ZADD', key .. ':leases', now + tonumber(ARGV[4]), batch)
redis.call('EXPIRE', key .. ':leases', ARGV[6])
local payload = redis.call('HGET', key .. ':payloads', batch)
local pieces = {}
for _, piece in ipairs(record.pieces or {}) do
  pieces[#pieces + 1] = piece
  pieces[#pieces + 1] = redis.call('HGET', key .. ':payloads', piece)
  pieces[#pieces + 1] = tostring(cjson.decode(redis.call('HGET', key .. ':batches', piece)).late)
end
return {
  redis.call('EXISTS', KEYS[7]), job, batch, payload, known[1], known[2], tostring(record.queued), record.attempts,
  record.urls, tostring(record.late or 0), pieces, record.owns or '', changes,
}
