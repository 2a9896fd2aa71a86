#!lua flags=allow-oom
--[[ seal: turns what queue entries of one trace stand for into immutable generations, or says where that went. Running it
again gives the same generations again until they are completed.
KEYS     1  trace
ARGV     1  now                 message time, Unix seconds
         2  epochField, 3 epoch   as of link.lua, or 'any'
         4  pageEntries         most entries of lists to return at once; the first two of each come in any case
         then for each queue entry, 1 to 20 of them:
         1  handle, 2 list      the handle as in trace.lua
         3  reason              number as of sealRecord in trace.lua; 0: only if due; else seal in any case, for this reason unless
                                it is due as well
RETURNS  'STALE'                the trace is of a later epoch, or of one while the caller counts none
         'GONE'                 it is of an epoch before
         else { incarnation or '', epoch or '', … } and for each queue entry
           packed (sealRecord of trace.lua), n, entry 0, … entry n - 1   sealed, and the first entries of its list
           handle, packed (RECORD of trace.lua)   not due yet, or its spans are in another segment or generation by now
           ''                                     completed, or nothing is known of it
COST     O(queue entries + pageEntries), and a look for each redirect on the way of an entry that went into another segment
]]
--@include trace
local call, ARGV, trace, epoch, sub = redis.call, ARGV, KEYS[1], ARGV[3], string.sub
local FIRST_ARG, STRIDE = 5, 3
-- With the first entries, as most lists have no others.
local names, size = { 'i', ARGV[2] }, 2
for at = FIRST_ARG, #ARGV, STRIDE do
  local list = ARGV[at] .. '.' .. ARGV[at + 1]
  names[size + 1], names[size + 2], names[size + 3], names[size + 4] = '#' .. list, ARGV[at], list .. '.0', list .. '.1'
  size = size + 4
end
local found = call('HMGET', trace, unpack(names))
local of = found[2]
if of and epoch ~= 'any' then
  if epoch == '' or of + 0 > epoch + 0 then return 'STALE' end
  if of + 0 < epoch + 0 then return 'GONE' end
end

-- Written at the end, and not looked at before: one list of a handle is live, and sealing it twice is sealing it once. An old entry
-- of the same handle is led to that list all the same; who gets there finds that somebody has it.
local fields, count = {}, 0
local reply, length, left = { found[1] or '', of or '' }, 2, ARGV[4] + 0
size = 2
for at = FIRST_ARG, #ARGV, STRIDE do
  local handle, field = ARGV[at], names[size + 1]
  local packed, entries = found[size + 1], nil
  if packed then
    entries = select(6, struct.unpack('<Bc8BI3I4I4', packed))
  else
    local current, record, hops = handle, found[size + 2], 0
    while record and #record == 9 do
      if hops == 64 then error('CORRUPT redirects of ' .. trace .. ' do not end') end
      current, hops = record, hops + 1
      record = call('HGET', trace, current)
    end
    local r = record and { struct.unpack(RECORD, record) }
    if not r or r[SPANS] == 0 then
      length = length + 1
      reply[length] = ''
    else
      local due, reason = r[FIRST] + r[DUE] / 1000 <= ARGV[1] + 0, ARGV[at + 2] + 0
      if current ~= handle or r[LIST] ~= ARGV[at + 1] + 0 or (reason == 0 and not due) then
        reply[length + 1], reply[length + 2] = current, record
        length = length + 2
      else
        if due then reason = r[FLAGS] >= 2 and 3 or r[FLAGS] == 1 and 1 or 2 end
        entries, packed = r[ENTRIES], sealRecord(r, reason)
        record = struct.pack(RECORD, unpack(r, 1, HELD))
        fields[count + 1], fields[count + 2], fields[count + 3], fields[count + 4] = field, packed, handle, record
        count = count + 4
      end
    end
  end
  if entries then
    local page = math.max(math.min(entries, left), math.min(entries, 2))
    reply[length + 1], reply[length + 2] = packed, page
    length = length + 2
    if entries <= 2 then
      reply[length + 1] = found[size + 3]
      if entries == 2 then reply[length + 2] = found[size + 4] end
    else
      local rest, list = {}, sub(field, 2)
      for k = 1, page do rest[k] = list .. '.' .. k - 1 end
      rest = call('HMGET', trace, unpack(rest))
      for k = 1, page do reply[length + k] = rest[k] end
      left = left - page
    end
    length = length + page
  end
  size = size + 4
end
if count > 0 then call('HSET', trace, unpack(fields)) end
return reply
