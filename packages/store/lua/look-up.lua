#!lua flags=no-writes
--[[ look-up: where entries are in a shard's queue.
KEYS     as in queue.lua
ARGV     1… entries, 1 to 128
RETURNS  { server microseconds, then for each entry: due time or '', end of its lease or '', held until or '', 1 when parked else 0 }
COST     O(1) an entry
]]
--@include queue
local time = call('TIME')
local out = { time[1] .. string.format('%06d', time[2]) }
for _, entry in ipairs(ARGV) do
  local size = #out
  out[size + 1] = call('ZSCORE', dueOf(entry), entry) or ''
  out[size + 2] = call('ZSCORE', inFlight, entry) or ''
  out[size + 3] = call('ZSCORE', held, entry) or ''
  out[size + 4] = call('HEXISTS', parked, entry)
end
return out
