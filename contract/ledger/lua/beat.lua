-- Note that a worker is there, and forget those that have said nothing for long.
-- KEYS: workers, by when each was last heard of
-- ARGV: worker, seconds after which one is forgotten
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
redis.call('ZADD', KEYS[1], string.format('%.3f', now), ARGV[1])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[1], gone)
end
