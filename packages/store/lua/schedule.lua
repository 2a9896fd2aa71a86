#!lua flags=allow-oom
--[[ schedule: puts entries into a shard's queue and takes out those that are of no use any more, in this order.
KEYS     1  due, 2 held   sorted sets: entry -> due time, Unix seconds of message time; entry -> Unix seconds of wall time
ARGV     1  ttlSeconds
         2  heldSeconds   wall time after which an entry is taken whatever message time says; '' keeps it as it is
         3  mode          'set' : the given due times count; 'keep': those of entries that are there already count
         4  n             entries to schedule, then n x (entry, due), then entries to take out
RETURNS  1
COST     O(log(queue)) an entry
]]
local due, held = KEYS[1], KEYS[2]
local ttlSeconds, heldSeconds, mode, n = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local wall = tonumber(redis.call('TIME')[1])
for at = 5, 3 + 2 * n, 2 do
  if mode == 'keep' then
    redis.call('ZADD', due, 'NX', ARGV[at + 1], ARGV[at])
  else
    redis.call('ZADD', due, ARGV[at + 1], ARGV[at])
  end
  if heldSeconds then redis.call('ZADD', held, 'NX', wall + heldSeconds, ARGV[at]) end
end
for at = 5 + 2 * n, #ARGV do
  redis.call('ZREM', due, ARGV[at])
  redis.call('ZREM', held, ARGV[at])
end
for _, key in ipairs(KEYS) do
  if redis.call('TTL', key) < ttlSeconds then redis.call('EXPIRE', key, ttlSeconds) end
end
return 1
