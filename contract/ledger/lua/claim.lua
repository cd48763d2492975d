-- Take the lease of a batch that waits for a worker, or that is worn and nobody's (the sweep alone asks for those).
-- KEYS: sent, overdue, taken, ahead, turns of priority 0, priorities, the sent of the other edition: both have one queue
-- ARGV: what the keys of every job begin with, job/batch ('': whose turn it is, of any job), holder's token,
--       lease seconds, most attempts (0: the sweep asks), seconds to keep, seconds it must have waited where any will do,
--       did a message lead here (1/0), what of a policy the caller can read (names with a comma behind each), its version,
--       the version of the entries it can read, the keys of the queue's lists (none: the broker is not this Redis)
-- Returns false (closed, held, deferred, unknown), the attempts of a worn batch, or a list: do batches of the other edition
-- wait (1/0), then '' and the changes of control where none waits here, or the batch's record and the changes of control, or
-- a job whose batches wait and cannot be read by the caller, where nothing else waits: they lose no attempt by that.
-- Which job's keys are touched is known only here: one Redis holds them all, so nothing is declared but what they share.
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

-- A later version may have put a limit into the policy that the caller would not keep.
local strange
local readable = {}
local function is_readable(job)
  if readable[job] ~= nil then return readable[job] end
  local text = redis.call('HGET', ARGV[1] .. job, 'policy')
  local is_json, policy = pcall(cjson.decode, text or '{}')
  local is_known = is_json and (not text or policy.version == tonumber(ARGV[10]))
  for name in pairs(is_known and policy or {}) do
    is_known = is_known and string.find(',' .. ARGV[9], ',' .. name .. ',', 1, true) ~= nil
  end
  if not is_known then strange = job end
  readable[job] = is_known
  return is_known
end

-- Can it be claimed? Nil: not now, as its job is paused or cancelled, or not by the caller, who cannot read it. Takes it out
-- of the line where it never can: its job is gone, it is worn and the sweep's, or a worker of the first edition took it, which
-- knows no lines of jobs.
local function is_claimable(waits)
  local job, batch = string.match(waits, '^(.-)/(.*)$')
  local key = ARGV[1] .. job
  local known = redis.call('HMGET', key, 'policy', 'state')
  if known[2] then return nil end
  local text = known[1] and redis.call('HGET', key .. ':batches', batch)
  local record = text and cjson.decode(text)
  if record and not is_readable(job) then return nil end
  if record and (record.format or 1) > tonumber(ARGV[11]) then
    strange = job
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

-- The first in a line that can be claimed; a job's own line holds its batches without the job in front of them.
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

-- Of the jobs the one that has had least for its weight (stride scheduling: Waldspurger and Weihl, 1995); of its batches
-- the one that has waited longest.
local least
local function first_in_turns(turns)
  local skipped = 0
  for _ = 1, 100 do
    local turn = redis.call('ZRANGE', turns, skipped, skipped, 'WITHSCORES')
    if not turn[1] then return nil end
    local head = is_readable(turn[1]) and first_of(ARGV[1] .. turn[1] .. ':line', turn[1] .. '/')
    if head then
      least = turn[2]
      return head
    end
    if strange == turn[1] then
      skipped = skipped + 1
    elseif redis.call('EXISTS', ARGV[1] .. turn[1] .. ':line') == 1 then
      return false
    else
      redis.call('ZREM', turns, turn[1])
    end
  end
end

local function turns_of(priority) return priority == '0' and KEYS[5] or KEYS[5] .. ':' .. priority end

-- Priority goes before what jobs have had; of one that nobody has any more nothing is kept.
local function first_of_jobs()
  for _, priority in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1, 'REV')) do
    local head = first_in_turns(turns_of(priority))
    if head ~= nil then return head end
    if redis.call('EXISTS', turns_of(priority)) == 0 then redis.call('ZREM', KEYS[6], priority) end
  end
  return false
end

-- What was lost or handed off goes first: it has had its turn. What stands in no job's line, as all of the first edition,
-- comes last.
local function next_in_turn()
  return first_of(KEYS[2], '') or first_of_jobs() or first_of(KEYS[1], '')
end

-- Count what a job has had, by the URLs of its batches and its weight; without more to claim it has no turn.
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

-- Who comes without a message takes one out of the queue that is one too many then: it would lead to nothing.
local function drop_message()
  local spare = -redis.call('ZCARD', KEYS[1]) - redis.call('ZCARD', KEYS[7])
  for i = 12, #ARGV do spare = spare + redis.call('LLEN', ARGV[i]) end
  for i = 12, spare > 0 and #ARGV or 0 do
    local message = redis.call('RPOP', ARGV[i])
    if message and string.find(message, '"trawlnet.batch"', 1, true) then return end
    if message then redis.call('RPUSH', ARGV[i], message) end
  end
end

local waits = ARGV[2]
if waits == '' then
  -- The reply to the holder's first call was lost and its client asks again: not for yet another batch.
  waits = redis.call('HGET', KEYS[4], ARGV[3]) or next_in_turn()
  if not waits then
    if strange then return {redis.call('EXISTS', KEYS[7]), strange} end
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
if not is_readable(job) or (record.format or 1) > tonumber(ARGV[11]) then return {redis.call('EXISTS', KEYS[7]), job} end

-- The reply to the holder's first call was lost and its client asks again.
local again = record.token == ARGV[3]
if not again then
  local expiry = redis.call('ZSCORE', key .. ':leases', batch)
  local worn = most == 0 and record.state == 'held' and not (expiry and tonumber(expiry) > now)
  -- A lease that ran out is for the sweep to end, not for a second copy of the message: its holder may yet renew.
  if known[5] or (record.state ~= 'queued' and not worn) then return false end
  if most > 0 and record.attempts >= most then return record.attempts end
  -- The first write is one that Redis allows when it is out of memory; those after it are then allowed too.
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
