#!lua flags=allow-oom
--[[ park: takes leased entries out of work until they are put back, once as many tries to produce them have come to nothing
as are asked for. Until then an entry stays leased, and comes again when its lease ends. One whose lease is not the caller's
any more is left alone.
KEYS     as in queue.lua
ARGV     1  lease, 2 ttlSeconds
         3  mostTries     integer > 0: at this one an entry is parked
         then pairs: entry, JSON object of what is to be known about it, with one field at least
RETURNS  for each entry 1 when it is parked, else 0
COST     O(log(queue)) an entry
]]
--@include queue
local lease, ttlSeconds, mostTries = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = call('TIME')
local parkedAt = string.format('{"parkedSeconds":%s.%06d,', time[1], time[2])

-- How many tries have come to nothing, with this one. The call may be sent twice: each lease counts once.
local function count(entry)
  local before, countedAt = match(call('HGET', tries, entry) or '0 ', '^(%d+) (.*)$')
  if countedAt == lease then return tonumber(before) end
  call('HSET', tries, entry, before + 1 .. ' ' .. lease)
  lengthen(tries, ttlSeconds)
  return before + 1
end

local out = {}
for at = 4, #ARGV, 2 do
  local entry = ARGV[at]
  local isOurs = tonumber(call('ZSCORE', inFlight, entry) or 0) == tonumber(lease)
  if isOurs and (mostTries == 1 or count(entry) >= mostTries) then
    call('HSET', parked, entry, parkedAt .. string.sub(ARGV[at + 1], 2))
    lengthen(parked, ttlSeconds)
    call('ZREM', dueOf(entry), entry)
    call('ZREM', held, entry)
    -- A script that ends half-way, in a slot that moves, begins again from here.
    call('ZREM', inFlight, entry)
    call('HDEL', tries, entry)
  end
  out[#out + 1] = call('HEXISTS', parked, entry)
end
return out
