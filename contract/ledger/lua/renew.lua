-- Hold a batch for longer; only its holder can, even after the lease ran out, as long as nobody else took it.
-- KEYS: batches, leases
-- ARGV: batch, holder's token, lease seconds, seconds to keep
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then return 0 end
local record = cjson.decode(text)
if record.token ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
-- The first write is one that Redis allows when it is out of memory; the one after it is then allowed too.
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[2], tonumber(time[1]) + tonumber(time[2]) / 1e6 + tonumber(ARGV[3]), ARGV[1])
return 1
