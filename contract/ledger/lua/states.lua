-- Return the states of jobs; '' where one is running, or unknown.
-- ARGV: what the keys of every job begin with, jobs
local states = {}
for i = 2, #ARGV do states[i - 1] = redis.call('HGET', ARGV[1] .. ARGV[i], 'state') or '' end
return states
