#!lua flags=allow-oom
--[[ keep: lets a trace live on for a sealed generation that is parked. What would shorten its life again waits until no
generation is left.
KEYS     1  trace
ARGV     1  handle, 2 list, 3 incarnation   as seal returned them
         4  ttlSeconds
RETURNS  1 when the generation waits, 0 when it has been completed
COST     O(1)
]]
local waits = redis.call('HEXISTS', KEYS[1], '#' .. ARGV[1] .. '.' .. ARGV[2]) == 1
if not waits or redis.call('HGET', KEYS[1], 'i') ~= ARGV[3] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[4], 'GT')
return 1
