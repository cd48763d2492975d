-- Give a job so many turns for each of one that nobody weighed.
-- KEYS: job
-- ARGV: weight
-- Returns 0 where the job is unknown: a key made here would look like half a job.
if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'weight', ARGV[1])
return 1
