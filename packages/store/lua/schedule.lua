#!lua flags=allow-oom
--[[ schedule: puts entries into a shard's queue and takes out those that are of no use any more, in this order. Of two due
times the earlier one counts, as calls may cross: seal looks again, and gives an entry back that came too early.
KEYS     1  due, 2 held   sorted sets: entry -> due time, Unix seconds of message time; entry -> Unix seconds of wall time
         at which it is taken whatever message time says
ARGV     1  ttlSeconds
         2  n             entries to schedule, then n x (entry, due, held), then entries to take out
RETURNS  1
COST     O(log(queue)) an entry
]]
local due, held = KEYS[1], KEYS[2]
local ttlSeconds, n = tonumber(ARGV[1]), tonumber(ARGV[2])
for at = 3, 3 * n, 3 do
  redis.call('ZADD', due, 'LT', ARGV[at + 1], ARGV[at])
  redis.call('ZADD', held, 'LT', ARGV[at + 2], ARGV[at])
end
for at = 3 + 3 * n, #ARGV do
  redis.call('ZREM', due, ARGV[at])
  redis.call('ZREM', held, ARGV[at])
end
for _, key in ipairs(KEYS) do
  if redis.call('TTL', key) < ttlSeconds then redis.call('EXPIRE', key, ttlSeconds) end
end
return 1
