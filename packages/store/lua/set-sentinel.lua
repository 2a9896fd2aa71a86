#!lua flags=allow-oom
--[[ set-sentinel: marks a node as one that has all that was stored since an epoch began.
KEYS     1  sentinel   hash: epoch -> integer
ARGV     1  ttlSeconds, 2 epoch
RETURNS  1
COST     O(1)
]]
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
