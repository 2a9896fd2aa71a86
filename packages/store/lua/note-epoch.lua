#!lua flags=allow-oom
--[[ note-epoch: notes something about an epoch, unless it is over.
KEYS     1  epoch   as in begin-epoch.lua
ARGV     1  epoch, then pairs: field, value
RETURNS  1, or 0 when that epoch is over
COST     O(pairs)
]]
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
