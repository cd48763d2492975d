-- Pause, cancel or resume a job, and move some of its waiting batches to where its state requires: aside, where no claim
-- looks, or back in line.
-- KEYS: job, batches, line, aside, sent, overdue, turns of priority 0, taken, priorities, active
-- ARGV: job id, the wanted state ('paused', 'cancelled', 'running'; '': unchanged), the command that pauses, or resumes a
--       pause of its own ('': a person), most batches to move, seconds to keep
-- Returns false (unknown), or {state before ('running', 'paused', 'cancelled', 'finished'), its pauser, batches moved}.
local found = redis.call('HMGET', KEYS[1], 'policy', 'state', 'pauser', 'totals', 'priority', 'pass')
if not found[1] then return false end
local job, wanted, who = ARGV[1], ARGV[2], ARGV[3]
local state, pauser = found[2], found[3] or ''
local was = state or 'running'
if was ~= 'cancelled' and found[4] and redis.call('HLEN', KEYS[2]) == 0 then was = 'finished' end
local priority = found[5] or '0'
local turns = priority == '0' and KEYS[7] or KEYS[7] .. ':' .. priority

local function change(to)
  -- Redis allows this first write even if it is out of memory, and then the writes that follow.
  for _, part in ipairs({'', ':batches', ':payloads', ':leases', ':due', ':closed', ':line', ':aside',
    ':waits', ':parcels', ':parked', ':owners'}) do
    if to == 'paused' then redis.call('PERSIST', KEYS[1] .. part) else redis.call('EXPIRE', KEYS[1] .. part, ARGV[5]) end
  end
  redis.call('HDEL', KEYS[1], 'pauser')
  redis.call('HINCRBY', KEYS[8], 'changes', 1)
  redis.call('SADD', KEYS[10], job)
  state = to
  if to then redis.call('HSET', KEYS[1], 'state', to) else redis.call('HDEL', KEYS[1], 'state') end
  redis.call('PUBLISH', KEYS[1], '')
end

if wanted == 'running' then
  if was == 'paused' and (who == '' or who == pauser) then change(false) end
elseif wanted ~= '' and was ~= 'cancelled' and was ~= 'finished' then
  -- A pause that ends with its command does not replace one that needs `trawl resume`.
  if wanted == 'cancelled' or was == 'running' or who == '' then
    change(wanted)
    if who ~= '' then redis.call('HSET', KEYS[1], 'pauser', who) end
  end
end

local moved = 0
local function set_aside(line, name, batch, since)
  redis.call('ZREM', line, name)
  redis.call('ZREM', KEYS[5], job .. '/' .. batch)
  redis.call('ZADD', KEYS[4], since, batch)
  moved = moved + 1
end

if state then
  redis.call('ZREM', turns, job)
  -- Overdue batches are few, of all jobs, and claimed first: move all of them at once.
  local overdue = wanted ~= '' and redis.call('ZRANGE', KEYS[6], 0, -1, 'WITHSCORES') or {}
  for i = 1, #overdue, 2 do
    local owner, batch = string.match(overdue[i], '^(.-)/(.*)$')
    if owner == job then set_aside(KEYS[6], overdue[i], batch, overdue[i + 1]) end
  end
  local waiting = redis.call('ZRANGE', KEYS[3], 0, tonumber(ARGV[4]) - 1, 'WITHSCORES')
  for i = 1, #waiting, 2 do set_aside(KEYS[3], waiting[i], waiting[i], waiting[i + 1]) end
else
  local aside = redis.call('ZRANGE', KEYS[4], 0, tonumber(ARGV[4]) - 1, 'WITHSCORES')
  for i = 1, #aside, 2 do
    local text = redis.call('HGET', KEYS[2], aside[i])
    redis.call('ZREM', KEYS[4], aside[i])
    if text then
      local line = cjson.decode(text).overdue and KEYS[6] or KEYS[3]
      redis.call('ZADD', line, aside[i + 1], line == KEYS[6] and job .. '/' .. aside[i] or aside[i])
      redis.call('ZADD', KEYS[5], aside[i + 1], job .. '/' .. aside[i])
    end
    moved = moved + 1
  end
  for _, i in ipairs({3, 5, 6}) do redis.call('EXPIRE', KEYS[i], ARGV[5]) end
  if #aside > 0 and redis.call('EXISTS', KEYS[3]) == 1 then
    local least = redis.call('HGET', KEYS[8], priority == '0' and 'pass' or 'pass:' .. priority)
    local pass = math.max(tonumber(found[6]) or 0, tonumber(least) or 0)
    redis.call('ZADD', turns, 'NX', string.format('%.17g', pass), job)
    redis.call('ZADD', KEYS[9], priority, priority)
    redis.call('EXPIRE', turns, ARGV[5])
  end
end
return {was, pauser, moved}
