#!lua flags=allow-oom
--[[ seal: turns what a queue entry stands for into an immutable generation, or says where it went. Running it again gives
the same generation again until that is completed.
KEYS     1  trace
ARGV     1  handle, 2 list      of the queue entry; the handle as in trace.lua
         3  now                 message time, Unix seconds
         4  reason              number as of sealRecord in trace.lua; 0: only if due; else seal in any case, for this reason unless
                                it is due as well
         5  pageEntries         most entries of the list to return at once, 2 or more
         6  epochField, 7 epoch   as of link.lua, or 'any'
RETURNS  { incarnation, epoch or '', packed (sealRecord of trace.lua), entry 0, entry 1, … up to pageEntries }   sealed
         { handle, packed (RECORD of trace.lua) }   not due yet, or its spans are in another segment or generation by now
         'GONE'                                 completed, or nothing is known of it, or it is of an epoch before
         'STALE'                                it is of a later epoch, or of one while the caller counts none
COST     O(pageEntries)
]]
--@include trace
local call, trace, handle, epoch = redis.call, KEYS[1], ARGV[1], ARGV[7]
local list = handle .. '.' .. ARGV[2]
local field = '#' .. list
-- With the first entries, as most lists have no others.
local packed, record, incarnation, of, entry0, entry1 =
  unpack(call('HMGET', trace, field, handle, 'i', ARGV[6], list .. '.0', list .. '.1'))
if of and epoch ~= 'any' then
  if epoch == '' or of + 0 > epoch + 0 then return 'STALE' end
  if of + 0 < epoch + 0 then return 'GONE' end
end

local entries
if packed then
  entries = select(6, struct.unpack('<Bc8BI3I4I4', packed))
else
  local current, hops = handle, 0
  while record and #record == 9 do
    if hops == 64 then error('CORRUPT redirects of ' .. trace .. ' do not end') end
    current, hops = record, hops + 1
    record = call('HGET', trace, current)
  end
  if not record then return 'GONE' end
  local r = { struct.unpack(RECORD, record) }
  if r[SPANS] == 0 then return 'GONE' end
  local due, reason = r[FIRST] + r[DUE] / 1000 <= ARGV[3] + 0, ARGV[4] + 0
  if current ~= handle or r[LIST] ~= ARGV[2] + 0 or (reason == 0 and not due) then return { current, record } end
  if due then reason = r[FLAGS] >= 2 and 3 or r[FLAGS] == 1 and 1 or 2 end
  entries, packed = r[ENTRIES], sealRecord(r, reason)
  call('HSET', trace, field, packed, handle, struct.pack(RECORD, unpack(r, 1, HELD)))
end
if entries == 1 then return { incarnation, of or '', packed, entry0 } end
if entries == 2 then return { incarnation, of or '', packed, entry0, entry1 } end
local fields = {}
for k = 0, math.min(entries, ARGV[5] + 0) - 1 do fields[k + 1] = list .. '.' .. k end
return { incarnation, of or '', packed, unpack(call('HMGET', trace, unpack(fields))) }
