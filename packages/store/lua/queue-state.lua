#!lua flags=no-writes
--[[ queue-state: how much is in a shard's queue.
KEYS     as in queue.lua
RETURNS  { due, in flight, parked, lowest due time in Unix seconds of message time, or '' where there is none,
         1 when nothing at all is in the queue, else 0 }
COST     O(1) a lane
]]
--@include queue
local count, oldest = 0, ''
for lane = FIRST_LANE, #KEYS do
  local due = KEYS[lane]
  count = count + call('ZCARD', due)
  -- Without those that are to be taken whatever message time says.
  local first = call('ZRANGEBYSCORE', due, '(-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if first and (oldest == '' or tonumber(first) < tonumber(oldest)) then oldest = first end
end
return { count, call('ZCARD', inFlight), call('HLEN', parked), oldest, isEmpty() and 1 or 0 }
