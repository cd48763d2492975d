-- Set how many turns a job gets per turn of a job of weight 1.
-- KEYS: job
-- ARGV: weight
-- Returns 0 if the job is unknown: creating the key here would leave half a job.
if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'weight', ARGV[1])
return 1
