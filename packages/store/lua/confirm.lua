#!lua flags=allow-oom
--[[ confirm: strikes sealed generations that are in a queue now from the trace's list of those that may not be.
KEYS     1  trace
ARGV     1… '<handle>.<list>.<shard>;', 1 or more
RETURNS  1
COST     O(length of that list): the generations sealed in passing by calls that are under way
]]
local unconfirmed = redis.call('HGET', KEYS[1], 'o')
if not unconfirmed then return 1 end
for _, item in ipairs(ARGV) do
  local from, to = string.find(unconfirmed, item, 1, true)
  if from then unconfirmed = string.sub(unconfirmed, 1, from - 1) .. string.sub(unconfirmed, to + 1) end
end
if unconfirmed == '' then
  redis.call('HDEL', KEYS[1], 'o')
else
  redis.call('HSET', KEYS[1], 'o', unconfirmed)
end
return 1
