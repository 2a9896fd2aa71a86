#!lua flags=allow-oom
--[[ take-offsets: notes how far a partition has been read.
KEYS     1  ledger   as in open-books.lua
ARGV     1  ttlSeconds, 2 source, 3 offset   what lies below it has been read
RETURNS  1, or -1 without books
COST     O(1)
]]
local field = 'taken ' .. ARGV[2]
local taken = redis.call('HGET', KEYS[1], field)
if not taken then return -1 end
if tonumber(ARGV[3]) > tonumber(taken) then redis.call('HSET', KEYS[1], field, ARGV[3]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
