#!lua
--[[ link: applies one addition to its trace, whole or not at all: finds the segments its subsegments belong to, merges
segments that turn out to be one, registers members, seals what has reached its size.
KEYS     1  trace
ARGV     1  ttlSeconds          integer > 0
         2  '!<token>'          names this call; a repetition of the call has the same one
         3  firstList           random, 0 to 2^31 - 1: where lists of new records begin
         4  epochField, 5 epoch   an integer > 0, or '' where nobody counts them: see `e` of trace.lua
         6  terms, packed (TERMS below):
            now                 message time, Unix seconds
            rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds   numbers > 0
            maxSegmentBytes     integer > 0
            subsegments         1 to 20
            distinct            1: no id is in two of them, as top or as a span; else 0
         then for each subsegment:
         1  entry               a member as in trace.lua
         2  minOffset and maxOffset, 20 digits each, or '' without offsets
         3  spans, hasRoot (0 or 1), shard and bytes, packed (FACTS below), then ids: that of its top, then of its spans but the
            top, 8 bytes each; 1 to 80 spans in all subsegments together
         then for each subsegment its position: field '@<source>/<partition>', or '' without offsets
RETURNS  { 'STALE' }                               the trace is of a later epoch; nothing was written
         { 'PARTIAL', position, offset taken, … }  some subsegments are partly replays; nothing was written
         else one string, as a table costs more: effects, a line feed, and for each segment touched that holds spans its handle
         and its record, which says when it is to be taken. Effects are
           S<place>                  sealed: to be scheduled at once, then confirmed. Places are those of `o` in trace.lua
           A<place>                  absorbed: its queue entry is of no use any more
           R<index, 1 byte>          subsegment, from 0, that was a replay: nothing refers to its payload
         Of a call that had been applied before, nothing counts as a replay.
COST     O(spans of the call), one slot; independent of the size of the segments. No other key is touched. Numbers are packed
         since each argument costs Redis some 0.1 us, several times what unpacking does.
]]
--@include trace
local call, ARGV, trace, sub, char, byte = redis.call, ARGV, KEYS[1], string.sub, string.char, string.byte
local TERMS, FACTS, FIRST_ID = '<dddddI2B', '<I2BI3I6', 13
local now, rootTimeout, timeout, maxAge, maxBytes, subsegments, distinct = struct.unpack(TERMS, ARGV[6])
local token, epochField, epoch = ARGV[2], ARGV[4], ARGV[5]
local FIRST_ARG, STRIDE = 7, 3
local POSITIONS = FIRST_ARG + STRIDE * subsegments
local SMALL_FIELDS, CHUNKS, BUCKET_BYTES, PLACE_BYTES = 64, 16, 1024, 17

-- The field of the bucket for an id. There are more of the next level, the 7th has one for each id.
local function bucketOf(id, level)
  if level == 1 then return '~' .. sub(id, 8) .. char(byte(id, 7) % 16) end
  return '~' .. sub(id, 8 - level)
end

-- Fields as they are: of a small trace all, of a large one those that the call may need, none of one that is new, as most are.
-- And names of buckets by id, as making one costs as much as looking into it.
local has, firstBuckets, fieldsThere = {}, {}, call('HLEN', trace)
if fieldsThere > SMALL_FIELDS then
  local names = { 'n', 'i', 'o', token, epochField, unpack(ARGV, POSITIONS) }
  for k = 0, CHUNKS - 1 do names[#names + 1] = '=' .. char(48 + k) end
  for at = FIRST_ARG + 2, POSITIONS - 1, STRIDE do
    for from = FIRST_ID, #ARGV[at], 8 do
      local id, count = sub(ARGV[at], from, from + 7), #names
      local bucket = bucketOf(id, 1)
      names[count + 1], names[count + 2], firstBuckets[id] = ':' .. id, bucket, bucket
    end
  end
  for k, value in ipairs(call('HMGET', trace, unpack(names))) do has[names[k]] = value end
elseif fieldsThere > 0 then
  local all = call('HGETALL', trace)
  for at = 1, #all, 2 do has[all[at]] = all[at + 1] end
end
local of = has[epochField]
if of and epoch == '' then
  -- From now on it may hold what nobody reads again.
  call('HDEL', trace, epochField)
elseif of and of + 0 > epoch + 0 then
  return { 'STALE' }
elseif of and of + 0 < epoch + 0 then
  -- It may lack what Redis has lost, and everything that was open comes again.
  call('UNLINK', trace)
  has = {}
end
local incarnation = has['i']
local again = has[token] or (incarnation and sub(incarnation, 1, #token + 1) == token .. '.')

local anyNew, replay, partial = false, nil, nil
for k = 0, subsegments - 1 do
  local offsets, taken = ARGV[FIRST_ARG + STRIDE * k + 1], has[ARGV[POSITIONS + k]]
  if again or (taken and sub(offsets, 21) <= taken) then
    replay = replay or {}
    replay[k] = true
  elseif taken and sub(offsets, 1, 20) <= taken then
    partial = partial or { 'PARTIAL' }
    partial[#partial + 1] = ARGV[POSITIONS + k]
    partial[#partial + 1] = taken
  else
    anyNew = true
  end
end
if partial then return partial end

-- Records in use by handle; handles by the id of a span that is none.
local records, handles, chunks = {}, {}, 0
while incarnation and chunks < CHUNKS do
  local chunk = has['=' .. char(48 + chunks)]
  if not chunk then break end
  local handle = ':' .. sub(chunk, 1, 8)
  for at = 9, #chunk, 8 do handles[sub(chunk, at, at + 7)] = handle end
  chunks = chunks + 1
end
-- Ids to be stored by handle: of a new trace one after the other, else a list, as a string that grows is hashed anew each time.
local pending = {}
-- Pairs to be written; of those that have the same field the last one counts. Growing costs as much again as what is usual here.
local fields, size = { nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil }, 0

local function read(field)
  local value = has[field]
  if value == nil then
    value = redis.call('HGET', KEYS[1], field)
    has[field] = value
  end
  return value
end

-- The handle of an id, if it is known.
local function known(id)
  local handle = ':' .. id
  if has[handle] or records[handle] then return handle end
  handle = handles[id]
  if handle or chunks < CHUNKS then return handle end
  for level = 1, 7 do
    local bucket, at = read(level == 1 and firstBuckets[id] or bucketOf(id, level)), 0
    if not bucket then return nil end
    repeat at = string.find(bucket, id, at + 1, true) until not at or at % 16 == 1
    if at then
      handles[id] = ':' .. sub(bucket, at + 8, at + 15)
      return handles[id]
    end
    if #bucket < BUCKET_BYTES then return nil end
  end
end

-- The handle of the segment that a handle has gone into. From then on everything on the way leads there at once.
local function find(first)
  local handle, hops = first, 0
  while not records[handle] do
    local value = read(handle)
    if #value ~= 9 then
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
    local next = has[first]
    fields[size + 1], fields[size + 2], has[first] = first, handle, handle
    size, first = size + 2, next
  end
  return handle
end

local waiting, unconfirmed = (has['n'] or 0) + 0, has['o'] or ''
local reply, length, time = { nil, nil, nil, nil }, 0, nil
-- Whether the call concerns a record; behind what is stored of it.
local TOUCHED = 14

local function millis(seconds)
  local ms = math.floor(seconds * 1000 + 0.001)
  if ms < 0 then return 0 elseif ms > 4294967295 then return 4294967295 end
  return ms
end

-- What `o` of trace.lua has of a list.
local function placeOf(handle, list, shard) return struct.pack('<c9I4I4', handle, list, shard) end

-- Seals what a record holds, for its size. Answers what is to be scheduled.
local function seal(at, handle, r)
  local place = placeOf(handle, r[5], r[4])
  fields[at + 1], fields[at + 2] = '#' .. handle .. '.' .. r[5], sealRecord(r, 4)
  return place
end

local united, isNew = false, not incarnation and distinct == 1
for k = 0, subsegments - 1 do
  local at = FIRST_ARG + STRIDE * k
  local facts = ARGV[at + 2]
  local spans, hasRoot, shard, bytes = struct.unpack(FACTS, facts)
  if replay and replay[k] then
    if not again then
      length = length + 1
      reply[length] = 'R' .. char(k)
    end
    for from = FIRST_ID, #facts, 8 do
      local handle = known(sub(facts, from, from + 7))
      if handle then records[find(handle)][TOUCHED] = true end
    end
  else
    local topId = sub(facts, FIRST_ID, FIRST_ID + 7)
    local handle = not isNew and known(topId)
    if handle then
      handle = find(handle)
    else
      handle = ':' .. topId
      -- Numbers that become part of names are text already.
      records[handle] = { 0, topId, 0, 0, ARGV[3], 1, '0', 0, 0, now, 0, 0, 0, true }
    end
    local r = records[handle]
    if hasRoot == 1 and r[FLAGS] % 2 == 0 and r[NAME] == topId then r[FLAGS] = r[FLAGS] + 1 end
    if isNew then
      if #facts > FIRST_ID + 7 then pending[handle], r[RANK] = sub(facts, FIRST_ID + 8), 1 end
    else
      for from = FIRST_ID + 8, #facts, 8 do
        local id = sub(facts, from, from + 7)
        local other = known(id)
        if not other then
          handles[id] = handle
          local own = pending[handle]
          if own then own[#own + 1] = id else pending[handle] = { id } end
          if r[RANK] == 0 then r[RANK] = 1 end
        elseif other ~= handle then
          other = find(other)
          if other ~= handle and records[other][NAME] == id and records[other][FLAGS] % 2 == 0 then
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
              length = length + 1
              reply[length] = 'A' .. placeOf(loser, l[LIST], l[SHARD])
              fields[size + 1] = winner .. '.' .. w[LIST] .. '.' .. w[ENTRIES]
              fields[size + 2] = '>' .. loser .. '.' .. l[LIST] .. '.' .. l[ENTRIES]
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
            fields[size + 1], fields[size + 2], has[loser], records[loser] = loser, winner, winner, nil
            size, handle, r, united = size + 2, winner, w, true
          end
        end
      end
    end
    if r[SPANS] > 0 and r[BYTES] + bytes > maxBytes then
      unconfirmed = unconfirmed .. seal(size, handle, r)
      size = size + 2
    end
    if r[SPANS] == 0 then
      waiting, time = waiting + 1, time or call('TIME')
      r[SHARD], r[HELD], r[FIRST], r[LAST] = shard, time[1] + math.ceil(3 * maxAge), now, 0
    elseif now < r[FIRST] then
      r[FIRST], r[LAST] = now, millis(r[FIRST] - now + r[LAST] / 1000)
    elseif now - r[FIRST] > r[LAST] / 1000 then
      r[LAST] = millis(now - r[FIRST])
    end
    fields[size + 1], fields[size + 2] = handle .. '.' .. r[LIST] .. '.' .. r[ENTRIES], ARGV[at]
    size = size + 2
    r[ENTRIES], r[SPANS], r[BYTES], r[TOUCHED] = r[ENTRIES] + 1, r[SPANS] + spans, r[BYTES] + bytes, true
    if r[BYTES] >= maxBytes then
      unconfirmed = unconfirmed .. seal(size, handle, r)
      size = size + 2
    end
    local position, maxOffset = ARGV[POSITIONS + k], sub(ARGV[at + 1], 21)
    if position ~= '' and (not has[position] or maxOffset > has[position]) then
      fields[size + 1], fields[size + 2], has[position] = position, maxOffset, maxOffset
      size = size + 2
    end
  end
end
-- What was redirected to a handle that is none any more.
if united then
  for at = 2, size, 2 do
    if #fields[at] == 9 then fields[at] = find(fields[at]) end
  end
end

for at = 1, #unconfirmed, PLACE_BYTES do
  length = length + 1
  reply[length] = 'S' .. sub(unconfirmed, at, at + PLACE_BYTES - 1)
end
length = length + 1
reply[length] = '\n'
for handle, r in next, records do
  if r[TOUCHED] then
    if r[SPANS] == 0 then
      r[FIRST], r[LAST], r[DUE] = now, 0, 0
    elseif anyNew then
      local flags, idle = r[FLAGS] % 2, r[LAST] / 1000
      idle = idle + (flags == 1 and rootTimeout or timeout)
      if maxAge < idle then r[FLAGS], r[DUE] = flags + 2, millis(maxAge) else r[FLAGS], r[DUE] = flags, millis(idle) end
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

local filled = {}
for handle, ids in next, pending do
  local handleId = sub(handle, 2)
  if not isNew then ids = table.concat(ids) end
  for at = 1, #ids, 56 do
    if chunks < CHUNKS then
      fields[size + 1], fields[size + 2] = '=' .. char(48 + chunks), handleId .. sub(ids, at, at + 55)
      size, chunks = size + 2, chunks + 1
    else
      for from = at, math.min(at + 48, #ids), 8 do
        local id, level = sub(ids, from, from + 7), 1
        local bucket = firstBuckets[id] or bucketOf(id, 1)
        while #(read(bucket) or '') >= BUCKET_BYTES do
          level = level + 1
          bucket = bucketOf(id, level)
        end
        has[bucket] = (has[bucket] or '') .. id .. handleId
        filled[bucket] = true
      end
    end
  end
end
for bucket in next, filled do
  fields[size + 1], fields[size + 2] = bucket, has[bucket]
  size = size + 2
end
if unconfirmed ~= (has['o'] or '') then
  fields[size + 1], fields[size + 2] = 'o', unconfirmed
  size = size + 2
end
if waiting ~= (has['n'] or 0) + 0 then
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
if epoch ~= '' and (has['n'] or 0) + 0 == 0 then
  fields[size + 1], fields[size + 2] = epochField, epoch
  size = size + 2
end
call('HSET', trace, unpack(fields, 1, size))
-- Never shorter than another writer wants it; GT alone sets nothing on a key that is new.
if incarnation then call('EXPIRE', trace, ARGV[1], 'GT') else call('EXPIRE', trace, ARGV[1]) end
return table.concat(reply)
