#!lua flags=allow-oom
--[[ settle: ends leases. An entry whose lease is not the caller's any more is left alone.
KEYS     1  due, 2 in-flight, 3 held, 4 forgotten
ARGV     1  lease, 2 ttlSeconds
         then pairs: entry, due time to give it back with, or '' to take it out of the queue
RETURNS  size of the queue afterwards
COST     O(log(queue)) an entry
]]
local due, inFlight, held = KEYS[1], KEYS[2], KEYS[3]
local lease, ttlSeconds = tonumber(ARGV[1]), tonumber(ARGV[2])
for at = 3, #ARGV, 2 do
  local entry, dueAt = ARGV[at], ARGV[at + 1]
  if tonumber(redis.call('ZSCORE', inFlight, entry) or 0) == lease then
    -- In-flight last: a script that ends half-way, in a slot that moves, must leave the entry somewhere.
    if dueAt == '' then
      redis.call('ZREM', due, entry)
      redis.call('ZREM', held, entry)
    else
      redis.call('ZADD', due, 'NX', dueAt, entry)
    end
    redis.call('ZREM', inFlight, entry)
  end
end
if redis.call('TTL', due) < ttlSeconds then redis.call('EXPIRE', due, ttlSeconds) end
return redis.call('ZCARD', due) + redis.call('ZCARD', inFlight) + redis.call('ZCARD', KEYS[4])
