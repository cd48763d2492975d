-- Find a job's batches that want a message again, and those that killed their worker too often.
-- KEYS: job, batches, sent, leases, active
-- ARGV: job id, is the queue empty (1/0), seconds before a message counts as lost on an empty queue,
--       seconds after which an overtaken message counts as lost, most attempts, most batches at once
-- Returns {batches to send, worn batches}.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local most = tonumber(ARGV[6])
local send, worn = {}, {}

local function queue(batch, record)
  record.state = 'queued'
  record.token = ''
  redis.call('HSET', KEYS[2], batch, cjson.encode(record))
  redis.call('ZADD', KEYS[3], now, batch)
  send[#send + 1] = batch
end

-- Leases that ran out, and deferred batches that have come due.
for _, batch in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, most)) do
  local record = cjson.decode(redis.call('HGET', KEYS[2], batch))
  if record.state == 'held' and record.attempts >= tonumber(ARGV[5]) then
    worn[#worn + 1] = batch
  else
    redis.call('ZREM', KEYS[4], batch)
    queue(batch, record)
  end
end

-- Messages that nobody can have any more: the queue is empty, or a message sent later was taken long ago.
local lost_before = '-inf'
if ARGV[2] == '1' then
  lost_before = now - tonumber(ARGV[3])
else
  local marks = redis.call('HMGET', KEYS[1], 'highest', 'mark', 'marked')
  if marks[1] and (not marks[3] or now - tonumber(marks[3]) >= tonumber(ARGV[4])) then
    if marks[2] then lost_before = '(' .. marks[2] end
    redis.call('HSET', KEYS[1], 'mark', marks[1], 'marked', tostring(now))
  end
end
if lost_before ~= '-inf' then
  for _, batch in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', lost_before, 'LIMIT', 0, most)) do
    queue(batch, cjson.decode(redis.call('HGET', KEYS[2], batch)))
  end
end
if redis.call('HLEN', KEYS[2]) == 0 then redis.call('SREM', KEYS[5], ARGV[1]) end
return {send, worn}
