-- Store the report of a batch that needs no worker; once.
-- KEYS: job, batches, closed, result
-- ARGV: batch, report, seconds to keep, then (counter, amount) for each
if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then return -1 end
if redis.call('ZSCORE', KEYS[3], ARGV[1]) or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 0 end
redis.call('SET', KEYS[4], ARGV[2], 'EX', ARGV[3])
local is_paused = redis.call('HGET', KEYS[1], 'state') == 'paused'
if is_paused then redis.call('PERSIST', KEYS[4]) end
redis.call('ZADD', KEYS[3], redis.call('HINCRBY', KEYS[1], 'closings', 1), ARGV[1])
if not is_paused then redis.call('EXPIRE', KEYS[3], ARGV[3]) end
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PUBLISH', KEYS[4], ARGV[2])
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
