-- Return the number of changes of jobs' states, and the states of these jobs; '' if running or unknown.
-- KEYS: taken
-- ARGV: prefix of all jobs' keys, jobs
local states = {tonumber(redis.call('HGET', KEYS[1], 'changes') or 0)}
for i = 2, #ARGV do states[i] = redis.call('HGET', ARGV[1] .. ARGV[i], 'state') or '' end
return states
