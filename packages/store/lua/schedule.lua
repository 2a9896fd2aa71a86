#!lua flags=allow-oom
--[[ schedule: puts entries into a shard's queue and takes out those that are of no use any more, in this order. Of two due
times the earlier one counts, as calls may cross: seal looks again, and gives an entry back that came too early. What is
parked stays parked.
KEYS     as in queue.lua
ARGV     1  ttlSeconds
         2  n             entries to schedule, then n x (entry, due, held), then entries to take out
RETURNS  1
COST     O(log(queue)) an entry
]]
--@include queue
local ttlSeconds, n = ARGV[1] + 0, ARGV[2] + 0
local anyParked = call('EXISTS', parked) == 1
local dues, helds, outs, size = {}, { 'LT' }, {}, 1
for at = 3, 3 * n, 3 do
  local entry = ARGV[at]
  if not anyParked or call('HEXISTS', parked, entry) == 0 then
    local due = listOf(dues, dueOf(entry))
    local length = #due
    due[length + 1], due[length + 2] = ARGV[at + 1], entry
    helds[size + 1], helds[size + 2] = ARGV[at + 2], entry
    size = size + 2
  end
end
for key, pairs in next, dues do
  call('ZADD', key, 'LT', unpack(pairs))
  lengthen(key, ttlSeconds)
end
if size > 1 then
  call('ZADD', held, unpack(helds))
  lengthen(held, ttlSeconds)
end
if #ARGV < 3 + 3 * n then return 1 end
for at = 3 + 3 * n, #ARGV do
  local out = listOf(outs, dueOf(ARGV[at]))
  out[#out + 1] = ARGV[at]
end
for key, some in next, outs do call('ZREM', key, unpack(some)) end
call('ZREM', held, unpack(ARGV, 3 + 3 * n))
return 1
