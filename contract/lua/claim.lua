-- Take the lease of a batch that nobody holds.
-- KEYS: job, batches, payloads, sent, leases
-- ARGV: batch, holder's token, lease seconds, most attempts (0: any)
-- Returns false (closed, held, deferred, unknown), the attempts of a worn batch, or its record.
local text = redis.call('HGET', KEYS[2], ARGV[1])
if not text then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local record = cjson.decode(text)
if record.state ~= 'queued' and tonumber(redis.call('ZSCORE', KEYS[5], ARGV[1])) > now then return false end
local most = tonumber(ARGV[4])
if most > 0 and record.attempts >= most then return record.attempts end
if record.state == 'queued' then
  local sent = redis.call('ZSCORE', KEYS[4], ARGV[1])
  local highest = redis.call('HGET', KEYS[1], 'highest')
  if sent and (not highest or tonumber(sent) > tonumber(highest)) then redis.call('HSET', KEYS[1], 'highest', sent) end
end
record.state = 'held'
record.token = ARGV[2]
record.attempts = record.attempts + 1
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(record))
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZADD', KEYS[5], now + tonumber(ARGV[3]), ARGV[1])
local job = redis.call('HMGET', KEYS[1], 'policy', 'secrets')
return {redis.call('HGET', KEYS[3], ARGV[1]), job[1], job[2], tostring(record.queued), record.attempts, record.urls}
