-- Note that a worker is alive, and forget those that have been silent for long.
-- KEYS: workers, by the time each was last heard of
-- ARGV: worker, seconds of silence after which workers are forgotten
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
redis.call('ZADD', KEYS[1], string.format('%.3f', now), ARGV[1])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[1], gone)
end
