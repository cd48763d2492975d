-- Return how many changes of control there were, and the states of jobs; '' where one is running, or unknown.
-- KEYS: taken
-- ARGV: what the keys of every job begin with, jobs
local states = {tonumber(redis.call('HGET', KEYS[1], 'changes') or 0)}
for i = 2, #ARGV do states[i] = redis.call('HGET', ARGV[1] .. ARGV[i], 'state') or '' end
return states
