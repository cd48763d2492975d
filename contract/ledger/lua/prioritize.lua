-- Set a job's priority: jobs of a higher one come first, however much they have had.
-- KEYS: job, turns of priority 0, taken, priorities
-- ARGV: job id, priority, seconds to keep
-- Returns 0 if the job is unknown.
local found = redis.call('HMGET', KEYS[1], 'policy', 'priority')
if not found[1] then return 0 end
local function turns_of(priority) return priority == '0' and KEYS[2] or KEYS[2] .. ':' .. priority end
local was_in_turn = redis.call('ZREM', turns_of(found[2] or '0'), ARGV[1]) == 1
redis.call('HSET', KEYS[1], 'priority', ARGV[2])
-- It joins at the position of the others of that priority: what it has had under another one does not count.
local least = redis.call('HGET', KEYS[3], ARGV[2] == '0' and 'pass' or 'pass:' .. ARGV[2]) or '0'
redis.call('HSET', KEYS[1], 'pass', least)
if was_in_turn then
  redis.call('ZADD', turns_of(ARGV[2]), least, ARGV[1])
  redis.call('ZADD', KEYS[4], ARGV[2], ARGV[2])
  redis.call('EXPIRE', turns_of(ARGV[2]), ARGV[3])
  redis.call('EXPIRE', KEYS[4], ARGV[3])
end
return 1
