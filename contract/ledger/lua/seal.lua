-- Record that the producer opens no more batches.
-- KEYS: job
-- ARGV: totals, seconds to keep
-- Returns 0 if the job is unknown: creating the key here would leave half a job.
if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'totals', ARGV[1])
if redis.call('HGET', KEYS[1], 'state') ~= 'paused' then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
