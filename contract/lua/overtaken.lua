-- Find the time before which a message that was sent and not taken is lost, whatever its job.
-- KEYS: taken
-- ARGV: messages in the queue (-1: the broker cannot tell), seconds before one counts as lost on an empty queue,
--       seconds after which an overtaken one counts as lost
-- Returns a bound for ZRANGEBYSCORE, or false where none can be called lost.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local waiting = tonumber(ARGV[1])
if waiting == 0 then return string.format('%.17g', now - tonumber(ARGV[2])) end
local taken = redis.call('HMGET', KEYS[1], 'highest', 'last', 'mark', 'marked')
-- A broker that cannot tell: nothing was taken for long, so what waits as long is sent again.
if waiting < 0 and now - tonumber(taken[2] or 0) >= tonumber(ARGV[3]) then
  return string.format('%.17g', now - tonumber(ARGV[3]))
end
if not taken[1] or (taken[4] and now - tonumber(taken[4]) < tonumber(ARGV[3])) then return false end
redis.call('HSET', KEYS[1], 'mark', taken[1], 'marked', string.format('%.17g', now))
return taken[3] and '(' .. taken[3]
