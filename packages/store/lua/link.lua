#!lua
--[[ link: applies one addition to its trace, whole or not at all: finds the segments its subsegments belong to, merges
segments that turn out to be one, registers members, seals what has reached its size.
KEYS     1  trace
ARGV     1  now                 message time, Unix seconds
         2  ttlSeconds          integer > 0
         3  rootTimeoutSeconds, 4 timeoutSeconds, 5 maxAgeSeconds   numbers > 0
         6  maxSegmentBytes     integer > 0
         7  '!<token>'          names this call; a repetition of the call has the same one
         8  firstList           random, 0 to 2^31 - 1: where lists of new records begin
         9  epochField, 10 epoch   an integer > 0, or '' where nobody counts them: see `e` of trace.lua
         11 subsegments         1 to 32
         then for each subsegment:
         1  spans, 2 hasRoot 0|1, 3 shard, 4 entry (a member as in trace.lua), 5 bytes
         6  minOffset, 7 maxOffset   20 digits, or '' without offsets
         then for each subsegment its position: field '@<source>/<partition>', or '' without offsets
         then for each subsegment topId and the ids of its spans, 16 hex digits each; 1 to 256 spans in all of them together
RETURNS  { 'STALE' }                               the trace is of a later epoch; nothing was written
         { 'PARTIAL', position, offset taken, … }  some subsegments are partly replays; nothing was written
         else one string, as a table costs more: effects, a line feed, and for each segment touched that holds spans its handle
         and its record, which says when it is to be taken. Effects are
           S<handle>.<list>.<shard>;   sealed: to be scheduled at once, then confirmed
           A<handle>.<list>.<shard>;   absorbed: its queue entry is of no use any more
           R<index>;                   subsegment, from 0, that was a replay: nothing refers to its payload
         Of a call that had been applied before, nothing counts as a replay.
COST     O(spans of the call), one slot; independent of the size of the segments. No other key is touched.
]]
--@include trace
local call, ARGV, trace = redis.call, ARGV, KEYS[1]
local now, maxBytes, token = ARGV[1] + 0, ARGV[6] + 0, ARGV[7]
local epochField, epoch, subsegments = ARGV[9], ARGV[10], ARGV[11] + 0
local FACTS, STRIDE = 12, 7
local POSITIONS = FACTS + STRIDE * subsegments
local IDS = POSITIONS + subsegments

-- One read for all that is named in the call; none of a trace that is new, as most are. What ARGV has at `at`, it has at
-- `at + GOT`.
local got = call('EXISTS', trace) == 0 and {}
  or call('HMGET', trace, 'n', 'i', 'o', token, epochField, unpack(ARGV, POSITIONS))
local GOT = 6 - POSITIONS
local of = got[5]
if of and epoch == '' then
  -- From now on it may hold what nobody reads again.
  call('HDEL', trace, epochField)
elseif of and of + 0 > epoch + 0 then
  return { 'STALE' }
elseif of and of + 0 < epoch + 0 then
  -- It may lack what Redis has lost, and everything that was open comes again.
  call('UNLINK', trace)
  got = {}
end
local incarnation = got[2]
local again = got[4] or (incarnation and string.sub(incarnation, 1, #token + 1) == token .. '.')

local anyNew, replay, partial = false, nil, nil
for k = 0, subsegments - 1 do
  local at, taken = FACTS + STRIDE * k, got[GOT + POSITIONS + k]
  if again or (taken and ARGV[at + 6] <= taken) then
    replay = replay or {}
    replay[k] = true
  elseif taken and ARGV[at + 5] <= taken then
    partial = partial or { 'PARTIAL' }
    partial[#partial + 1] = ARGV[POSITIONS + k]
    partial[#partial + 1] = taken
  else
    anyNew = true
  end
end
if partial then return partial end

-- By id: the next one, or a record as it is stored. Those in use are in `records`.
local values, records = {}, {}
if incarnation then
  for at = IDS, #ARGV do
    local value = got[GOT + at]
    if value then values[ARGV[at]] = value end
  end
end
-- Pairs to be written; of those that have the same field the last one counts. Growing costs as much again as what is usual here.
local fields, size =
  { nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil }, 0

-- The handle of an id that is known. From then on everything on the way leads there at once.
local function find(id)
  local handle, hops = id, 0
  while not records[handle] do
    local value = values[handle]
    if not value then
      value = redis.call('HGET', KEYS[1], handle)
      values[handle] = value
    end
    if #value ~= 16 then
      local r = { struct.unpack(RECORD, value) }
      r[14] = false
      records[handle] = r
    elseif hops == 64 then
      error('CORRUPT redirects of ' .. KEYS[1] .. ' do not end')
    else
      handle, hops = value, hops + 1
    end
  end
  for _ = 2, hops do
    local next = values[id]
    fields[size + 1], fields[size + 2], values[id] = id, handle, handle
    size, id = size + 2, next
  end
  return handle
end

local waiting, unconfirmed = (got[1] or 0) + 0, got[3] or ''
local reply, length, time = { nil, nil, nil, nil }, 0, nil
-- Whether the call concerns a record; behind what is stored of it.
local TOUCHED = 14

local function millis(seconds)
  local ms = math.floor(seconds * 1000 + 0.001)
  if ms < 0 then return 0 elseif ms > 4294967295 then return 4294967295 end
  return ms
end

-- Seals what a record holds, for its size. Answers what is to be scheduled.
local function seal(at, handle, r)
  local list = handle .. '.' .. r[5]
  fields[at + 1], fields[at + 2] = '#' .. list, sealRecord(r, 4)
  return list .. '.' .. r[4] .. ';'
end

local united, id = false, IDS
for k = 0, subsegments - 1 do
  local at, topId, first, last = FACTS + STRIDE * k, ARGV[id], id + 1, id + ARGV[FACTS + STRIDE * k]
  id = last + 1
  if replay and replay[k] then
    if not again then
      length = length + 1
      reply[length] = 'R' .. k .. ';'
    end
    for each = first, last do
      if values[ARGV[each]] then records[find(ARGV[each])][TOUCHED] = true end
    end
  else
    local handle, r = topId, nil
    if values[topId] then
      handle = find(topId)
      r = records[handle]
    else
      -- Numbers that become part of names are text already.
      r = { 0, topId, 0, 0, ARGV[8], 1, '0', 0, 0, now, 0, 0, 0, true }
      records[handle], values[handle] = r, ''
    end
    if ARGV[at + 1] == '1' and r[FLAGS] % 2 == 0 and r[NAME] == topId then r[FLAGS] = r[FLAGS] + 1 end
    for each = first, last do
      local spanId = ARGV[each]
      if not values[spanId] then
        values[spanId] = handle
        fields[size + 1], fields[size + 2] = spanId, handle
        size = size + 2
        if r[RANK] == 0 then r[RANK] = 1 end
      elseif spanId ~= handle then
        local other = find(spanId)
        if other ~= handle and records[other][NAME] == spanId and records[other][FLAGS] % 2 == 0 then
          -- One segment of two: `c` is named after a span whose parent is in `t`.
          local t, c, top, winner, loser = r, records[other], handle, handle, other
          if c[RANK] > t[RANK] then winner, loser = other, top end
          local w, l = records[winner], records[loser]
          if w[RANK] == l[RANK] then w[RANK] = w[RANK] + 1 end
          local generation = math.max(t[GENERATION], c[GENERATION])
          c[NAME], c[FLAGS], c[GENERATION], t[GENERATION] = t[NAME], t[FLAGS], generation, generation
          if t[SPANS] > 0 and c[SPANS] > 0 then
            if t[BYTES] + c[BYTES] > maxBytes then
              local larger = c[BYTES] > t[BYTES] and other or top
              unconfirmed = unconfirmed .. seal(size, larger, records[larger])
              size, w[GENERATION] = size + 2, generation + 1
            else
              waiting = waiting - 1
            end
          end
          if l[SPANS] > 0 then
            local list = loser .. '.' .. l[LIST] .. '.'
            length = length + 1
            reply[length] = 'A' .. list .. l[SHARD] .. ';'
            fields[size + 1], fields[size + 2] = winner .. '.' .. w[LIST] .. '.' .. w[ENTRIES], '>' .. list .. l[ENTRIES]
            size, w[ENTRIES] = size + 2, w[ENTRIES] + 1
            if w[SPANS] == 0 then
              w[SHARD], w[HELD], w[FIRST], w[LAST] = l[SHARD], l[HELD], l[FIRST], l[LAST]
            else
              local latest = math.max(w[FIRST] + w[LAST] / 1000, l[FIRST] + l[LAST] / 1000)
              w[HELD], w[FIRST] = math.min(w[HELD], l[HELD]), math.min(w[FIRST], l[FIRST])
              w[LAST] = millis(latest - w[FIRST])
            end
            w[SPANS], w[BYTES] = w[SPANS] + l[SPANS], w[BYTES] + l[BYTES]
          end
          fields[size + 1], fields[size + 2], values[loser], records[loser] = loser, winner, winner, nil
          size, handle, r, united = size + 2, winner, w, true
        end
      end
    end
    local bytes = ARGV[at + 4] + 0
    if r[SPANS] > 0 and r[BYTES] + bytes > maxBytes then
      unconfirmed = unconfirmed .. seal(size, handle, r)
      size = size + 2
    end
    if r[SPANS] == 0 then
      waiting, time = waiting + 1, time or call('TIME')
      r[SHARD], r[HELD], r[FIRST], r[LAST] = ARGV[at + 2], time[1] + math.ceil(3 * ARGV[5]), now, 0
    elseif now < r[FIRST] then
      r[FIRST], r[LAST] = now, millis(r[FIRST] - now + r[LAST] / 1000)
    elseif now - r[FIRST] > r[LAST] / 1000 then
      r[LAST] = millis(now - r[FIRST])
    end
    fields[size + 1], fields[size + 2] = handle .. '.' .. r[LIST] .. '.' .. r[ENTRIES], ARGV[at + 3]
    size = size + 2
    r[ENTRIES], r[SPANS], r[BYTES], r[TOUCHED] = r[ENTRIES] + 1, r[SPANS] + last - first + 1, r[BYTES] + bytes, true
    if r[BYTES] >= maxBytes then
      unconfirmed = unconfirmed .. seal(size, handle, r)
      size = size + 2
    end
    local position, maxOffset = ARGV[POSITIONS + k], ARGV[at + 6]
    if position ~= '' and (not values[position] or maxOffset > values[position]) then
      fields[size + 1], fields[size + 2], values[position] = position, maxOffset, maxOffset
      size = size + 2
    end
  end
end
-- What was redirected to a handle that is none any more.
if united then
  for at = 2, size, 2 do
    if #fields[at] == 16 then fields[at] = find(fields[at]) end
  end
end

if unconfirmed ~= '' then
  length = length + 1
  reply[length] = string.gsub(unconfirmed, '[^;]+;', 'S%0')
end
length = length + 1
reply[length] = '\n'
for handle, r in next, records do
  if r[TOUCHED] then
    if r[SPANS] == 0 then
      r[FIRST], r[LAST], r[DUE] = now, 0, 0
    elseif anyNew then
      local flags, idle, oldest = r[FLAGS] % 2, r[LAST] / 1000, ARGV[5] + 0
      idle = idle + ARGV[flags == 1 and 3 or 4]
      if oldest < idle then r[FLAGS], r[DUE] = flags + 2, millis(oldest) else r[FLAGS], r[DUE] = flags, millis(idle) end
    end
    local packed = struct.pack(RECORD, unpack(r, 1, HELD))
    if r[SPANS] > 0 then
      reply[length + 1], reply[length + 2] = handle, packed
      length = length + 2
    end
    fields[size + 1], fields[size + 2] = handle, packed
    size = size + 2
  end
end
if not anyNew then return table.concat(reply) end

if unconfirmed ~= (got[3] or '') then
  fields[size + 1], fields[size + 2] = 'o', unconfirmed
  size = size + 2
end
if waiting ~= (got[1] or 0) + 0 then
  fields[size + 1], fields[size + 2] = 'n', waiting == 1 and '1' or waiting
  size = size + 2
end
-- A listpack is searched from end to end for each field. Where many come at once it is made a table now, by a value as long as
-- no listpack has.
if size > 256 then
  fields[size + 1], fields[size + 2] = token, string.rep('-', 65)
  size = size + 2
elseif incarnation then
  fields[size + 1], fields[size + 2] = token, ''
  size = size + 2
end
if not incarnation then
  -- With the time: a copy of this call that arrives when its trace has been forgotten must not look like the first life.
  time = time or call('TIME')
  fields[size + 1], fields[size + 2] = 'i', token .. '.' .. time[1] .. '.' .. time[2]
  size = size + 2
end
-- Nor does one that holds something from before epochs were counted.
if epoch ~= '' and (got[1] or 0) + 0 == 0 then
  fields[size + 1], fields[size + 2] = epochField, epoch
  size = size + 2
end
call('HSET', trace, unpack(fields, 1, size))
-- Never shorter than another writer wants it; GT alone sets nothing on a key that is new.
if incarnation then call('EXPIRE', trace, ARGV[2], 'GT') else call('EXPIRE', trace, ARGV[2]) end
return table.concat(reply)
