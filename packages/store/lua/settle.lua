#!lua flags=allow-oom
--[[ settle: ends leases. An entry whose lease is not the caller's any more is left alone.
KEYS     as in queue.lua
ARGV     1  lease, 2 ttlSeconds
         then pairs: entry, due time to give it back with, or '' to take it out of the queue, as it stands for nothing
RETURNS  1 when anything is left in the queue, else 0
COST     O(log(queue)) an entry
]]
--@include queue
local lease, ttlSeconds = tonumber(ARGV[1]), tonumber(ARGV[2])
local anyAside = call('EXISTS', parked, tries) > 0
local entries = {}
for at = 3, #ARGV, 2 do entries[#entries + 1] = ARGV[at] end
local leases = call('ZMSCORE', inFlight, unpack(entries))
local back, out, ended = {}, {}, {}
for i, entry in ipairs(entries) do
  local dueAt = ARGV[2 * i + 2]
  if anyAside and dueAt == '' then
    -- Parked by another flusher after this one's lease, and completed by this one all the same.
    call('HDEL', parked, entry)
    call('HDEL', tries, entry)
  end
  if tonumber(leases[i] or 0) == lease then
    ended[#ended + 1] = entry
    if dueAt == '' then
      local due, others = listOf(out, dueOf(entry)), listOf(out, held)
      due[#due + 1], others[#others + 1] = entry, entry
    else
      local due = listOf(back, dueOf(entry))
      due[#due + 1], due[#due + 2] = dueAt, entry
    end
  end
end
for key, some in next, out do call('ZREM', key, unpack(some)) end
for key, pairs in next, back do
  call('ZADD', key, 'NX', unpack(pairs))
  lengthen(key, ttlSeconds)
end
-- Last: a script that ends half-way, in a slot that moves, must leave the entries somewhere.
if #ended > 0 then call('ZREM', inFlight, unpack(ended)) end
return isEmpty() and 0 or 1
