#!lua flags=allow-oom
--[[ forget: unlinks a large trace whose dedupe window is over, unless it holds spans again.
KEYS     1  trace
RETURNS  1 when it is gone, else 0
COST     O(1); the trace is freed in the background
]]
local waiting, forgetAt = unpack(redis.call('HMGET', KEYS[1], 'n', 'f'))
if not forgetAt or tonumber(waiting or 0) > 0 or tonumber(redis.call('TIME')[1]) < tonumber(forgetAt) then return 0 end
return redis.call('UNLINK', KEYS[1])
