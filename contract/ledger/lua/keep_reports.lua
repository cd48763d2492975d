-- Set how long Redis keeps stored reports, some at a time.
-- KEYS: closed
-- ARGV: prefix of the job's report keys, number of reports done before, most, seconds from now (0: for ever)
-- Returns the number of reports done now.
local first = tonumber(ARGV[2])
local batches = redis.call('ZRANGE', KEYS[1], first, first + tonumber(ARGV[3]) - 1)
for _, batch in ipairs(batches) do
  if ARGV[4] == '0' then redis.call('PERSIST', ARGV[1] .. batch) else redis.call('EXPIRE', ARGV[1] .. batch, ARGV[4]) end
end
return #batches
