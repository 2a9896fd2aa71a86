#!lua flags=allow-oom
--[[ forget-shards: forgets shards that were seen empty, unless something was scheduled since their token was read.
KEYS     1  shards
ARGV     pairs: shard, token read before the queue was seen empty
RETURNS  1
COST     O(shards)
]]
for at = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1] then redis.call('HDEL', KEYS[1], ARGV[at]) end
end
return 1
