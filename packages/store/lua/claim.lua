#!lua flags=allow-oom
--[[ claim: leases entries of a shard's queue to the caller: those whose lease has run out, for at most half of what is
asked while others wait; then those that are due or have been held too long, from all lanes alike.
KEYS     as in queue.lua
ARGV     1  now            message time, Unix seconds, or '+inf'
         2  leaseSeconds   3  limit, 1 to 256   4  ttlSeconds
RETURNS  { lease, state, entry, how, … }
         state  0: nothing is in the queue; 1: all that could be leased has been; 2: there may be more
         how    the entry's due time; '-inf': it is to be taken whatever message time says; 'again': its lease had run out;
                'forget': not leased, but the key of a large trace whose dedupe window is over
COST     O(limit x log(queue)), and one look into each lane; at most 8 traces to forget
]]
--@include queue
local FORGET_AT_ONCE = '8'
local HELD_AT_ONCE = '128'
local now, leaseSeconds, limit, ttlSeconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local nowMicros = time[1] .. string.format('%06d', time[2])
local lease = string.format('%.0f', micros + leaseSeconds * 1000000)
local out = { lease, 1 }
local room, looks = limit, 2 * limit

-- Leases entries, of which `hows` says why they come.
local function take(entries, hows)
  if #entries == 0 then return end
  local args, size = {}, #out
  for i, entry in ipairs(entries) do
    args[2 * i - 1], args[2 * i] = lease, entry
    out[size + 1], out[size + 2] = entry, hows and hows[i] or 'again'
    size = size + 2
  end
  call('ZADD', inFlight, unpack(args))
  room = room - #entries
end

local function takeAgain(most)
  local entries = call('ZRANGEBYSCORE', inFlight, '-inf', nowMicros, 'LIMIT', '0', most)
  take(entries)
  return #entries == most
end

-- Looks at as many entries as there is room for, of all lanes alike. Returns the lanes that may have more.
local function takeFrom(lanes)
  local share, more, looked, entries, dues, count = math.ceil(room / #lanes), {}, {}, {}, {}, 0
  for _, due in ipairs(lanes) do
    local most = math.min(share, room - count)
    local ready = most == 0 and {} or call('ZRANGEBYSCORE', due, '-inf', now, 'WITHSCORES', 'LIMIT', '0', most)
    if #ready == 2 * most then more[#more + 1] = due end
    if #ready > 0 then looked[due] = { count + 1, count + #ready / 2 } end
    for i = 1, #ready, 2 do
      count = count + 1
      entries[count], dues[count] = ready[i], ready[i + 1]
    end
  end
  if count == 0 then return more end
  local leases = call('ZMSCORE', inFlight, unpack(entries))
  local free, hows = {}, {}
  for i, entry in ipairs(entries) do
    -- An entry that is in work already was scheduled twice; whoever has it, has it.
    if not leases[i] then free[#free + 1], hows[#hows + 1] = entry, dues[i] end
  end
  take(free, hows)
  for due, at in next, looked do call('ZREM', due, unpack(entries, at[1], at[2])) end
  looks = looks - count
  return more
end

local moreAgain = takeAgain(math.ceil(limit / 2))

-- What has been held too long has its turn in its lane from now on. Should that come to nothing, it is looked at again when
-- a lease would have ended; until then it hides nothing behind it.
local nextLook = math.ceil(micros / 1000000 + leaseSeconds)
for _, entry in ipairs(call('ZRANGEBYSCORE', held, '-inf', time[1], 'LIMIT', '0', HELD_AT_ONCE)) do
  local due = dueOf(entry)
  local dueAt = call('ZSCORE', due, entry)
  if dueAt or call('ZSCORE', inFlight, entry) then
    call('ZADD', held, nextLook, entry)
    if dueAt and tonumber(dueAt) > tonumber(now) then call('ZADD', due, '-inf', entry) end
  else
    call('ZREM', held, entry)
  end
end

-- In an order drawn by the clock, in which each lane comes before any other one as often as after it.
local lanes, first, step = {}, micros % LANES, (2 * math.floor(micros / LANES) + 1) % LANES
for k = 0, LANES - 1 do lanes[k + 1] = KEYS[FIRST_LANE + (first + k * step) % LANES] end
while room > 0 and looks > 0 and #lanes > 0 do lanes = takeFrom(lanes) end
if moreAgain and room > 0 then moreAgain = takeAgain(room) end
if room == 0 or looks <= 0 or moreAgain then out[2] = 2 end

for _, trace in ipairs(call('ZRANGEBYSCORE', forgotten, '-inf', time[1], 'LIMIT', '0', FORGET_AT_ONCE)) do
  call('ZREM', forgotten, trace)
  out[#out + 1] = trace
  out[#out + 1] = 'forget'
end
lengthen(inFlight, ttlSeconds)
if isEmpty() then out[2] = 0 end
return out
