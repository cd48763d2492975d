-- Renew a lease. Its holder can do so even after it expired, unless another worker has claimed the batch.
-- KEYS: batches, leases
-- ARGV: batch, holder's token, lease seconds, seconds to keep
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then return 0 end
local record = cjson.decode(text)
if record.token ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
-- Redis allows this first write even if it is out of memory, and then the one that follows.
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[2], tonumber(time[1]) + tonumber(time[2]) / 1e6 + tonumber(ARGV[3]), ARGV[1])
return 1
