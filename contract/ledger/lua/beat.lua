-- Note that a worker is alive and can compute some digests, and forget those that have been silent for long.
-- KEYS: workers, by the time each was last heard of; then one for each digest
-- ARGV: worker, seconds of silence after which workers are forgotten, seconds for which the digests' keys exist
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
redis.call('ZADD', KEYS[1], string.format('%.3f', now), ARGV[1])
for i = 2, #KEYS do redis.call('SET', KEYS[i], '1', 'EX', ARGV[3]) end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[1], gone)
end
