#!lua flags=allow-oom
--[[ announce-flusher: notes that a flusher lives, and forgets those that have not said so for too long.
KEYS     1  flushers   sorted set: id -> Unix seconds of this server's clock at which it is forgotten
ARGV     1  ttlSeconds, 2 presenceSeconds, 3 id
RETURNS  1
COST     O(log(flushers)), and O(flushers) where many are to be forgotten
]]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return 1
