#!lua flags=allow-oom
--[[ begin-epoch: begins another epoch, unless somebody has.
KEYS     1  epoch   hash: epoch -> integer; master <run id> -> 1, the masters that are known; suspect -> what a flusher missed
ARGV     1  ttlSeconds
         2  known     epoch that is over, 0: none
         3… run ids of the masters
RETURNS  { epoch, 1 when this call began it, else 0 }
COST     O(masters)
]]
local epoch = KEYS[1]
local known = tonumber(ARGV[2])
local current = tonumber(redis.call('HGET', epoch, 'epoch') or 0)
if current > known then return { current, 0 } end
-- Microseconds: higher than any that was ever begun, also by those who have lost every trace of it.
local time = redis.call('TIME')
local new = math.max(known + 1, time[1] * 1000000 + time[2])
redis.call('HDEL', epoch, 'suspect')
local all = redis.call('HGETALL', epoch)
for at = 1, #all, 2 do
  if string.sub(all[at], 1, 7) == 'master ' then redis.call('HDEL', epoch, all[at]) end
end
local fields = { 'epoch', string.format('%.0f', new) }
for at = 3, #ARGV do
  fields[#fields + 1], fields[#fields + 2] = 'master ' .. ARGV[at], '1'
end
redis.call('HSET', epoch, unpack(fields))
redis.call('EXPIRE', epoch, ARGV[1])
return { new, 1 }
