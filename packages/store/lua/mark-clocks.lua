#!lua flags=allow-oom
--[[ mark-clocks: notes how far the consumer has come with shards, and when.
KEYS     1  clocks   hash: shard -> "<clock of this server, Unix seconds> <mark>"
ARGV     1  ttlSeconds, then pairs: shard, mark
RETURNS  1
COST     O(shards)
]]
local time = redis.call('TIME')
local now = string.format('%s.%06d', time[1], time[2])
local fields = {}
for at = 2, #ARGV, 2 do
  fields[at - 1], fields[at] = ARGV[at], now .. ' ' .. ARGV[at + 1]
end
redis.call('HSET', KEYS[1], unpack(fields))
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
