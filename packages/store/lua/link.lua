#!lua
--[[ link: applies one addition to its trace, whole or not at all: finds the segments its subsegments belong to, merges
segments that turn out to be one, registers members, seals what has reached its size.
KEYS     1  trace
ARGV     1  now                 message time, Unix seconds
         2  ttlSeconds          integer > 0
         3  rootTimeoutSeconds, 4 timeoutSeconds, 5 maxAgeSeconds   numbers > 0
         6  maxSegmentBytes     integer > 0
         7  token               names this call; a repetition of the call has the same one
         8  firstList           random, 0 to 2^31 - 1: where lists of new records begin
         then for each subsegment, 1 to 64:
         1  topId, 2 hasRoot 0|1, 3 shard, 4 entry (a member as in trace.lua), 5 spans, 6 bytes,
         7  position            field '@<source>/<partition>', or '' without offsets
         8  minOffset, 9 maxOffset   20 digits, or ''
         10 span ids            16 hex digits each, concatenated; 1 to 256 in all subsegments together
RETURNS  { 'PARTIAL', position, offset taken, … }  some subsegments are partly replays; nothing was written
         { 'APPLIED'|'AGAIN', what … }             AGAIN: this very call had been applied before
         what:  'L <handle> <list> <shard> <due> <held>'  live: to be scheduled at <due>, and taken at <held> by wall time
                'S <handle> <list> <shard>'        sealed: to be scheduled at once, then confirmed
                'A <handle> <list> <shard>'        absorbed: its queue entry is of no use any more
                'R <index>'                        subsegment, from 0, that was a replay: nothing refers to its payload
COST     O(spans of the call), one slot; independent of the size of the segments. No other key is touched.
]]
--@include trace
local call, sub = redis.call, string.sub
local trace = KEYS[1]
local now, ttlSeconds = tonumber(ARGV[1]), ARGV[2]
local rootTimeout, timeout, maxAge = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local maxBytes, token, firstList = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local FIRST, STRIDE = 9, 10

-- One read for all that is named in the call. Unknown ids are false in `values`, those not asked for nil.
local values, idsOf = {}, {}
local wanted, count = { 'n', 'i', 'o', '!' .. token }, 4
for at = FIRST, #ARGV, STRIDE do
  local position, topId, packedIds = ARGV[at + 6], ARGV[at], ARGV[at + 9]
  if position ~= '' and values[position] == nil then
    count = count + 1
    values[position], wanted[count] = false, position
  end
  if values[topId] == nil then
    count = count + 1
    values[topId], wanted[count] = false, topId
  end
  local ids = {}
  for i = 1, #packedIds, 16 do
    local id = sub(packedIds, i, i + 15)
    ids[#ids + 1] = id
    if values[id] == nil then
      count = count + 1
      values[id], wanted[count] = false, id
    end
  end
  idsOf[at] = ids
end
local got = call('HMGET', trace, unpack(wanted))
for i = 5, count do values[wanted[i]] = got[i] end
local incarnation, again = got[2], got[4]

local replay, anyNew, partial = {}, false, { 'PARTIAL' }
for at = FIRST, #ARGV, STRIDE do
  local taken = values[ARGV[at + 6]]
  if again or (taken and ARGV[at + 8] <= taken) then
    replay[at] = true
  elseif taken and ARGV[at + 7] <= taken then
    partial[#partial + 1] = ARGV[at + 6]
    partial[#partial + 1] = taken
  else
    anyNew = true
  end
end
if #partial > 1 then return partial end

local writes = {}
local function lookup(id)
  local value = values[id]
  if value == nil then
    value = call('HGET', trace, id)
    values[id] = value
  end
  return value
end
local records = {}
local function find(id)
  local visited = {}
  local handle, packed = findHandle(id, lookup, visited)
  if not handle then return nil end
  for i = 1, #visited - 1 do
    values[visited[i]] = handle
    writes[visited[i]] = handle
  end
  if not records[handle] then records[handle] = unpackRecord(packed) end
  return handle
end

local waiting = tonumber(got[1] or 0)
local waitingBefore = waiting
local unconfirmed = got[3] or ''
local out = { again and 'AGAIN' or 'APPLIED' }
local touched = {}

local function absorb(handle, r)
  out[#out + 1] = 'A ' .. handle .. ' ' .. r.list .. ' ' .. r.shard
end
local function append(handle, r, entry)
  writes[handle .. '.' .. r.list .. '.' .. r.entries] = entry
  r.entries = r.entries + 1
end
local function seal(handle, r)
  unconfirmed = unconfirmed .. handle .. '.' .. r.list .. '.' .. r.shard .. ';'
  local field = '#' .. handle .. '.' .. r.list
  writes[field] = sealRecord(r, 'max-bytes')
end
local function fill(r, spans, bytes, first, last)
  if r.spans == 0 then r.first, r.last = first, last end
  r.spans, r.bytes = r.spans + spans, r.bytes + bytes
  r.first, r.last = math.min(r.first, first), math.max(r.last, last)
end

-- Makes one segment of two: `child` is named after a span whose parent is in `top`. Returns the handle of the union.
local function unite(top, child)
  local t, c = records[top], records[child]
  local winner, loser = top, child
  if c.rank > t.rank then winner, loser = child, top end
  local w, l = records[winner], records[loser]
  if w.rank == l.rank then w.rank = w.rank + 1 end
  local generation = math.max(t.generation, c.generation)
  local name, rootSeen = t.name, t.rootSeen
  w.name, w.rootSeen, l.name, l.rootSeen, w.generation, l.generation = name, rootSeen, name, rootSeen, generation, generation
  if t.spans > 0 and c.spans > 0 and t.bytes + c.bytes > maxBytes then
    local larger = c.bytes > t.bytes and child or top
    seal(larger, records[larger])
    w.generation = generation + 1
  elseif t.spans > 0 and c.spans > 0 then
    waiting = waiting - 1
  end
  if l.spans > 0 then
    absorb(loser, l)
    append(winner, w, '>' .. loser .. '.' .. l.list .. '.' .. l.entries)
    if w.spans == 0 then w.shard, w.held = l.shard, l.held end
    w.held = math.min(w.held, l.held)
    fill(w, l.spans, l.bytes, l.first, l.last)
  end
  values[loser], writes[loser], records[loser] = winner, winner, nil
  return winner
end

local fresh = {}
for at = FIRST, #ARGV, STRIDE do
  local ids = idsOf[at]
  if replay[at] then
    if not again then out[#out + 1] = 'R ' .. (at - FIRST) / STRIDE end
    for _, id in ipairs(ids) do
      local handle = find(id)
      if handle then touched[handle] = true end
    end
  else
    local topId, shard = ARGV[at], tonumber(ARGV[at + 2])
    local handle = find(topId)
    if not handle then
      handle = topId
      records[handle] = { name = topId, rank = 0, shard = shard, list = firstList, generation = 1, entries = 0,
        spans = 0, bytes = 0, first = now, last = now, due = now, held = 0, rootSeen = false, byAge = false }
      values[handle] = 'record'
    end
    local r = records[handle]
    if ARGV[at + 1] == '1' and r.name == topId then r.rootSeen = true end
    for _, id in ipairs(ids) do
      if values[id] == false then
        values[id] = handle
        fresh[#fresh + 1] = id
        if r.rank == 0 then r.rank = 1 end
      else
        local other = find(id)
        if other ~= handle and records[other].name == id and not records[other].rootSeen then
          handle = unite(handle, other)
          r = records[handle]
        end
      end
    end
    local bytes = tonumber(ARGV[at + 5])
    if r.spans > 0 and r.bytes + bytes > maxBytes then seal(handle, r) end
    if r.spans == 0 then
      waiting = waiting + 1
      r.shard, r.held = shard, call('TIME')[1] + math.ceil(3 * maxAge)
    end
    append(handle, r, ARGV[at + 3])
    fill(r, tonumber(ARGV[at + 4]), bytes, now, now)
    if r.bytes >= maxBytes then seal(handle, r) end
    touched[handle] = true
    local position, maxOffset = ARGV[at + 6], ARGV[at + 8]
    if position ~= '' and (not writes[position] or writes[position] < maxOffset) then writes[position] = maxOffset end
  end
end

local seen = {}
for id in pairs(touched) do
  local handle = find(id)
  local r = records[handle]
  if not seen[handle] then
    seen[handle] = true
    if r.spans == 0 then
      r.first, r.last, r.due = now, now, now
    elseif anyNew then
      local idle, oldest = r.last + (r.rootSeen and rootTimeout or timeout), r.first + maxAge
      r.byAge = oldest < idle
      -- Rounded as it will be when it is read again, so that the queue and the record agree to the last digit.
      r.due = r.first + millis((r.byAge and oldest or idle) - r.first) / 1000
    end
    if r.spans > 0 then
      out[#out + 1] = string.format('L %s %d %d %.17g %d', handle, r.list, r.shard, r.due, r.held)
    end
  end
end
for handle, list, shard in string.gmatch(unconfirmed, '(%x+)%.(%d+)%.(%d+);') do
  out[#out + 1] = 'S ' .. handle .. ' ' .. list .. ' ' .. shard
end
if not anyNew then return out end

local fields = { '!' .. token, '' }
local size = 2
for _, id in ipairs(fresh) do
  fields[size + 1], fields[size + 2] = id, find(id)
  size = size + 2
end
for handle, r in pairs(records) do
  fields[size + 1], fields[size + 2] = handle, packRecord(r)
  size = size + 2
end
if waiting ~= waitingBefore then writes.n = waiting end
if unconfirmed ~= (got[3] or '') then writes.o = unconfirmed end
if not incarnation then writes.i = token end
for field, value in pairs(writes) do
  fields[size + 1], fields[size + 2] = field, value
  size = size + 2
end
call('HSET', trace, unpack(fields, 1, size))
-- Never shorter than another writer wants it; GT alone sets nothing on a key that is new.
if incarnation then call('EXPIRE', trace, ttlSeconds, 'GT') else call('EXPIRE', trace, ttlSeconds) end
return out
