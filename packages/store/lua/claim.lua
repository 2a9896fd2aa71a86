#!lua flags=allow-oom
--[[ claim: leases entries of a shard's queue to the caller: first those whose lease has run out, then those held too long
by the wall clock, then those that are due.
KEYS     1  due, 2 in-flight, 3 held, 4 forgotten   sorted sets; in-flight: entry -> end of its lease, server microseconds
ARGV     1  now            message time, Unix seconds, or '+inf'
         2  leaseSeconds   3  limit, 1 to 256   4  ttlSeconds
RETURNS  { lease, size of the queue, entry, how, … }  how: 'due' | 'held', or 'forget', with the key of a large trace whose
         dedupe window is over
COST     O(limit x log(queue)); at most 8 traces to forget
]]
local due, inFlight, held, forgotten = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local FORGET_AT_ONCE = 8
local limit, ttlSeconds = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local lease = string.format('%.0f', micros + tonumber(ARGV[2]) * 1000000)
local out = { lease, 0 }
local function room() return limit - (#out - 2) / 2 end
local function take(entry, how)
  redis.call('ZADD', inFlight, lease, entry)
  out[#out + 1] = entry
  out[#out + 1] = how
end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', inFlight, '-inf', micros, 'LIMIT', 0, limit)) do take(entry, 'due') end
if room() > 0 then
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', time[1], 'LIMIT', 0, room())) do
    local leased = redis.call('ZSCORE', inFlight, entry)
    if leased then
      -- Look again when that lease ends: entries in work must not hide those behind them.
      redis.call('ZADD', held, math.ceil(tonumber(leased) / 1000000), entry)
    elseif redis.call('ZREM', due, entry) == 1 then
      take(entry, 'held')
    else
      redis.call('ZREM', held, entry)
    end
  end
end
if room() > 0 then
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', ARGV[1], 'LIMIT', 0, room())) do
    redis.call('ZREM', due, entry)
    -- An entry that is in work already was scheduled twice; whoever has it, has it.
    if not redis.call('ZSCORE', inFlight, entry) then take(entry, 'due') end
  end
end
for _, trace in ipairs(redis.call('ZRANGEBYSCORE', forgotten, '-inf', time[1], 'LIMIT', 0, FORGET_AT_ONCE)) do
  redis.call('ZREM', forgotten, trace)
  out[#out + 1] = trace
  out[#out + 1] = 'forget'
end
out[2] = redis.call('ZCARD', due) + redis.call('ZCARD', inFlight) + redis.call('ZCARD', forgotten)
if redis.call('TTL', inFlight) < ttlSeconds then redis.call('EXPIRE', inFlight, ttlSeconds) end
return out
