#!lua flags=allow-oom
--[[ confirm: strikes sealed generations that are in a queue now from the trace's list of those that may not be.
KEYS     1  trace
ARGV     1… places as in `o` of trace.lua, 1 or more
RETURNS  1
COST     O(length of that list): the generations sealed in passing by calls that are under way
]]
local unconfirmed = redis.call('HGET', KEYS[1], 'o')
if not unconfirmed then return 1 end
for _, place in ipairs(ARGV) do
  for at = 1, #unconfirmed, #place do
    if string.sub(unconfirmed, at, at + #place - 1) == place then
      unconfirmed = string.sub(unconfirmed, 1, at - 1) .. string.sub(unconfirmed, at + #place)
      break
    end
  end
end
if unconfirmed == '' then
  redis.call('HDEL', KEYS[1], 'o')
else
  redis.call('HSET', KEYS[1], 'o', unconfirmed)
end
return 1
