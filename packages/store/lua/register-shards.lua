#!lua flags=allow-oom
--[[ register-shards: notes that shards have entries. Runs after the entries were scheduled, never before.
KEYS     1  shards   hash: shard -> token of the last call that scheduled something there
ARGV     1  ttlSeconds, 2 token, 3… shards
RETURNS  1
COST     O(shards)
]]
local fields = {}
for at = 3, #ARGV do
  fields[#fields + 1] = ARGV[at]
  fields[#fields + 1] = ARGV[2]
end
redis.call('HSET', KEYS[1], unpack(fields))
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
