-- In one step: delete reports that are stored elsewhere, and return the next ones with the job's record.
-- KEYS: job, batches, leases, closed, sweeping, payloads
-- ARGV: place that collects the outcomes, prefix of the job's report keys, most reports, then batches to forget
-- Returns false (unknown), {place} if another place collects them, or {place, fields of the job, open batches, held,
-- closed, were all jobs swept just now (1/0), ids, reports}; fewer than the most if they are large.
local known = redis.call('HMGET', KEYS[1], 'policy', 'place')
if not known[1] then return false end
if not known[2] then redis.call('HSET', KEYS[1], 'place', ARGV[1]) end
if known[2] and known[2] ~= ARGV[1] then return {known[2]} end
for i = 4, #ARGV do
  redis.call('ZREM', KEYS[4], ARGV[i])
  redis.call('DEL', ARGV[2] .. ARGV[i])
  -- Entries of gathered pieces were kept until now; those of open batches stay.
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then redis.call('HDEL', KEYS[6], ARGV[i]) end
end
local reports = {}
-- Pieces closed with another batch, whose report covers them, are behind all others.
local batches = redis.call('ZRANGE', KEYS[4], '-inf', '(+inf', 'BYSCORE', 'LIMIT', 0, ARGV[3])
local taken, size = {}, 0
for i, batch in ipairs(batches) do
  local report = redis.call('GET', ARGV[2] .. batch)
  size = size + (report and #report or 0)
  if i > 1 and size > 4194304 then break end -- compressed bytes: the most a follower gets at once
  taken[i], reports[i] = batch, report
end
return {
  ARGV[1], redis.call('HGETALL', KEYS[1]), redis.call('HLEN', KEYS[2]), redis.call('ZCARD', KEYS[3]),
  redis.call('ZCARD', KEYS[4]), redis.call('EXISTS', KEYS[5]), taken, reports,
}
