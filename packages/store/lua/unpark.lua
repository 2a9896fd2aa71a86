#!lua flags=allow-oom
--[[ unpark: puts parked entries back, to be taken at once, whatever message time says: nobody knows it here, and an early one
would look as if segments had been due for long.
KEYS     as in queue.lua
ARGV     1  ttlSeconds, 2… entries; those that are not parked are left alone
RETURNS  1
COST     O(log(queue)) an entry
]]
--@include queue
local ttlSeconds = tonumber(ARGV[1])
local now = call('TIME')[1]
for at = 2, #ARGV do
  local entry = ARGV[at]
  if call('HEXISTS', parked, entry) == 1 then
    local due = dueOf(entry)
    call('ZADD', due, '-inf', entry)
    lengthen(due, ttlSeconds)
    call('ZADD', held, now, entry)
    lengthen(held, ttlSeconds)
    -- Last: a script that ends half-way, in a slot that moves, begins again from here.
    call('HDEL', parked, entry)
  end
end
return 1
