#!lua
--[[ put-colocated: writes one payload of the colocated layout. In one command, so that the key never is without a TTL.
KEYS     1  segment key of one of the payload's spans   hash: write id -> payload
ARGV     1  ttlSeconds, 2 write id, 3 payload
RETURNS  1
COST     O(bytes)
]]
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
