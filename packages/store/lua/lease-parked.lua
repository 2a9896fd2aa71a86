#!lua flags=allow-oom
--[[ lease-parked: leases parked entries to the caller, who is to forget what they stand for.
KEYS     as in queue.lua
ARGV     1  leaseSeconds, 2 ttlSeconds, 3… entries; those that are not parked are left alone
RETURNS  { lease, entry, … } of those that were
COST     O(log(queue)) an entry
]]
--@include queue
local leaseSeconds, ttlSeconds = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = call('TIME')
local lease = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]) + leaseSeconds * 1000000)
local out = { lease }
for at = 3, #ARGV do
  local entry = ARGV[at]
  if call('HEXISTS', parked, entry) == 1 then
    call('ZADD', inFlight, lease, entry)
    out[#out + 1] = entry
    -- Last: a script that ends half-way, in a slot that moves, begins again from here.
    call('HDEL', parked, entry)
  end
end
if #out > 1 then lengthen(inFlight, ttlSeconds) end
return out
