-- Have Redis keep stored reports for so long from now, some at a time.
-- KEYS: closed
-- ARGV: what the keys of the job's reports begin with, how many were seen to, most, seconds (0: for ever)
-- Returns how many of them were seen to now.
local first = tonumber(ARGV[2])
local batches = redis.call('ZRANGE', KEYS[1], first, first + tonumber(ARGV[3]) - 1)
for _, batch in ipairs(batches) do
  if ARGV[4] == '0' then redis.call('PERSIST', ARGV[1] .. batch) else redis.call('EXPIRE', ARGV[1] .. batch, ARGV[4]) end
end
return #batches
