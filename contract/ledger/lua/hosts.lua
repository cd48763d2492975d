-- Exchange the states of throttling hosts: store those of this process, return those that are new to it.
-- KEYS: states (a hash; the field with the empty name counts changes), changes (hosts by their last change), probes
-- ARGV: the last change this process knows, seconds to keep a state after its pause, most changes returned, number of
--       states; for each state: host, milliseconds of pause, state; then the hosts to probe, each with its milliseconds
-- Returns {last change, {host, milliseconds of pause, state, ...}, {hosts this process may probe}}.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local known, keep = tonumber(ARGV[1]), tonumber(ARGV[2])
local at = 5
for _ = 1, tonumber(ARGV[4]) do
  local host, left = ARGV[at], tonumber(ARGV[at + 1])
  local kept = math.ceil(left / 1000) + keep
  for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, math.max(kept, redis.call('TTL', key))) end
  local change = redis.call('HINCRBY', KEYS[1], '', 1)
  redis.call('HSET', KEYS[1], host, string.format('%.0f %s', now + left, ARGV[at + 2]))
  redis.call('ZADD', KEYS[2], change, host)
  redis.call('HDEL', KEYS[3], host)
  for _, key in ipairs(KEYS) do
    if redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, kept) end
  end
  -- Remove up to two outdated states, those that changed longest ago, for each that is added.
  for _, old in ipairs(redis.call('ZRANGE', KEYS[2], 0, 1)) do
    local ends = tonumber(string.match(redis.call('HGET', KEYS[1], old) or '0', '^%d+'))
    if ends + keep * 1000 < now then
      redis.call('ZREM', KEYS[2], old)
      redis.call('HDEL', KEYS[1], old)
    end
  end
  at = at + 3
end
local granted = {}
while ARGV[at] do
  local host = ARGV[at]
  if tonumber(redis.call('HGET', KEYS[3], host) or '0') <= now then
    redis.call('HSET', KEYS[3], host, string.format('%.0f', now + tonumber(ARGV[at + 1])))
    if redis.call('TTL', KEYS[3]) == -1 then redis.call('EXPIRE', KEYS[3], keep) end
    granted[#granted + 1] = host
  end
  at = at + 2
end
local last = tonumber(redis.call('HGET', KEYS[1], '') or '0')
if known > last then known = 0 end  -- Redis was emptied meanwhile
local news = {}
if known < last then
  local changed = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. known, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
  if #changed / 2 == tonumber(ARGV[3]) then last = tonumber(changed[#changed]) end
  for index = 1, #changed, 2 do
    local ends, state = string.match(redis.call('HGET', KEYS[1], changed[index]) or '0 ', '^(%d+) (.*)$')
    news[#news + 1] = changed[index]
    news[#news + 1] = math.max(0, tonumber(ends) - now)
    news[#news + 1] = state
  end
end
return {last, news, granted}
