-- Take the lease of a batch that waits for a worker, or that is worn and nobody's (the sweep alone asks for those).
-- KEYS: job, batches, payloads, sent, leases, taken, overdue
-- ARGV: batch, holder's token, lease seconds, most attempts (0: the sweep asks), seconds to keep,
--       did its message not come (1/0)
-- Returns false (closed, held, deferred, unknown), the attempts of a worn batch, or its record.
local text = redis.call('HGET', KEYS[2], ARGV[1])
if not text then return false end
local job = redis.call('HMGET', KEYS[1], 'policy', 'secrets')
if not job[1] then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local record = cjson.decode(text)

-- The reply to the holder's first call was lost and its client asks again.
local again = record.token == ARGV[2]
if not again then
  local most = tonumber(ARGV[4])
  local expiry = redis.call('ZSCORE', KEYS[5], ARGV[1])
  local worn = most == 0 and record.state == 'held' and not (expiry and tonumber(expiry) > now)
  -- A lease that ran out is for the sweep to end, not for a second copy of the message: its holder may yet renew.
  if record.state ~= 'queued' and not worn then return false end
  if most > 0 and record.attempts >= most then return record.attempts end
  -- The first write is one that Redis allows when it is out of memory; those after it are then allowed too.
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  local sent = redis.call('ZSCORE', KEYS[4], ARGV[1])
  if sent then
    redis.call('HSET', KEYS[6], 'last', tostring(now))
    local highest = redis.call('HGET', KEYS[6], 'highest')
    -- What is overdue or claimed ahead is taken out of turn: it says nothing about messages sent before.
    if ARGV[6] == '0' and not record.overdue and not (highest and tonumber(highest) > tonumber(sent)) then
      redis.call('HSET', KEYS[6], 'highest', sent)
    end
    redis.call('ZREM', KEYS[4], ARGV[1])
    redis.call('ZREM', KEYS[7], ARGV[1])
  end
  record.state = 'held'
  record.token = ARGV[2]
  record.attempts = record.attempts + 1
  redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(record))
end
redis.call('ZADD', KEYS[5], now + tonumber(ARGV[3]), ARGV[1])
redis.call('EXPIRE', KEYS[5], ARGV[5])
return {redis.call('HGET', KEYS[3], ARGV[1]), job[1], job[2], tostring(record.queued), record.attempts, record.urls}
