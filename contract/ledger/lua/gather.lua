-- Put a job's parked pieces that have come due in line. Pieces that come due together share batches of the job's size; a
-- host that fills a batch gets its own, one at a time.
-- KEYS: job, batches, waits, parcels, parked, owners, sent, overdue, hosts
-- ARGV: job id, seconds to keep, most batches at once
-- Returns the batches that wait for a worker now. Each is named after one of its pieces; its record names the others.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local known = redis.call('HMGET', KEYS[1], 'size', 'policy', 'state')
if not known[2] or known[3] then return {} end
-- The size is unknown after a loss in which only handed-off batches are opened again.
local size = tonumber(known[1] or 0)
if size < 1 then size = 500 end
local patience = cjson.decode(known[2]).host_patience or 0
local heads, pool, pooled = {}, {}, 0

-- When the pause of the piece's hosts ends now (it may have been prolonged); 0: no pause, or one longer than the URLs'
-- patience.
local function paused_until(parcel)
  local first = redis.call('ZRANGE', KEYS[4], '[' .. parcel .. ' ', '(' .. parcel .. '!', 'BYLEX', 'LIMIT', 0, 1)[1]
  local text = first and redis.call('HGET', KEYS[2], string.sub(first, #parcel + 2))
  if not text then return 0 end
  local piece, ends = cjson.decode(text), math.huge
  for host in pairs(piece.hosts) do
    local state = redis.call('HGET', KEYS[9], host)
    ends = math.min(ends, state and tonumber(string.match(state, '^%d+')) / 1000 or 0)
  end
  return ends - piece.due < patience and ends or 0
end

-- Remove pieces from a parcel until they hold `urls` URLs; return them and the number of their URLs.
local function take(parcel, due, urls)
  local pieces, count = {}, 0
  local names = redis.call('ZRANGE', KEYS[4], '[' .. parcel .. ' ', '(' .. parcel .. '!', 'BYLEX', 'LIMIT', 0, 1000)
  for _, name in ipairs(names) do
    if count >= urls then break end
    local batch = string.sub(name, #parcel + 2)
    local text = redis.call('HGET', KEYS[2], batch)
    redis.call('ZREM', KEYS[4], name)
    if text then
      local record = cjson.decode(text)
      record.late = math.max(0, due - record.due)
      count = count + record.urls
      pieces[#pieces + 1] = {batch, record}
    end
  end
  if redis.call('HINCRBY', KEYS[5], parcel, -count) <= 0 then
    redis.call('HDEL', KEYS[5], parcel)
    redis.call('ZREM', KEYS[3], parcel)
  end
  return pieces, count
end

-- Turn pieces into a batch, and put it in line.
local function form(pieces, urls, owns)
  local batch, head = unpack(table.remove(pieces, 1))
  local names = {}
  for i, piece in ipairs(pieces) do
    local record = piece[2]
    names[i] = piece[1]
    head.queued = math.min(head.queued, record.queued)
    head.format = math.max(head.format, record.format)
    record.state = 'gathered'
    redis.call('HSET', KEYS[2], piece[1], cjson.encode(record))
  end
  head.pieces = names[1] and names
  if names[1] then redis.call('HINCRBY', KEYS[1], 'gathered', #names) end
  head.urls, head.owns, head.state, head.overdue = urls, owns, 'queued', true
  redis.call('HSET', KEYS[2], batch, cjson.encode(head))
  if owns then
    redis.call('HSET', KEYS[6], owns, batch)
    redis.call('ZREM', KEYS[3], owns)
  end
  redis.call('ZADD', KEYS[7], now, ARGV[1] .. '/' .. batch)
  redis.call('ZADD', KEYS[8], now, ARGV[1] .. '/' .. batch)
  heads[#heads + 1] = batch
end

local parcels = redis.call('ZRANGE', KEYS[3], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1000, 'WITHSCORES')
for i = 1, #parcels, 2 do
  if #heads >= tonumber(ARGV[3]) then break end
  local parcel, due = parcels[i], tonumber(parcels[i + 1])
  local ends = paused_until(parcel)
  if ends > now then
    redis.call('ZADD', KEYS[3], ends, parcel)
  elseif tonumber(redis.call('HGET', KEYS[5], parcel) or 0) > size then
    local pieces, count = take(parcel, due, size)
    if pieces[1] then form(pieces, count, parcel) end
  else
    local pieces, count = take(parcel, due, math.huge)
    for _, piece in ipairs(pieces) do pool[#pool + 1] = piece end
    pooled = pooled + count
  end
  while pooled >= size and pool[1] do
    local pieces, count = {}, 0
    while count < size and pool[1] do
      pieces[#pieces + 1] = table.remove(pool, 1)
      count = count + pieces[#pieces][2].urls
    end
    pooled = pooled - count
    form(pieces, count)
  end
end
if pool[1] then form(pool, pooled) end
for i = 1, 8 do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
return heads
