--[[ trace: what the scripts below share about the one hash per trace. Included by them, never run alone.

FIELDS of the hash span-buf:ssr:{project:trace}
  <span id>            16 hex digits: the next id towards the segment's handle (a redirect)
                       or, at the handle itself, the segment's record, packed (RECORD below)
  <handle>.<list>.<k>  k-th entry, from 0, of a list of member keys:
                         <c|d|b><span id>.<write id>      one payload: colocated, distributed or both
                         ><handle>.<list>.<entries>       another list, linked when two segments merged
  #<handle>.<list>     a sealed generation, packed (SEALED below)
  @<source>/<partition>  highest offset taken from there, 20 digits
  !<token>             a call that has been applied
  n                    generations that hold spans, live or sealed; 0 or absent: nothing waits
  i                    incarnation: token of the call that made the hash; fences what is deleted late
  f                    of a large trace that holds no spans: wall time, Unix seconds, at which it is to be forgotten
  o                    sealed in passing and perhaps not in a queue yet: "<handle>.<list>.<shard>;" each

Lists of a handle are numbered upwards from a number drawn at random when its record is made: no entry, list or sealed
generation of one incarnation has the name of one in another. A list is of one shard from its first span on.

A handle names a segment for as long as its trace is known, whatever its root turns out to be: the root's id is the
record's name. Handles are united by rank, so that no chain of redirects or of linked lists is longer than log2 of the
ids in the segment. Records stay below 64 bytes, so that the hash of a small trace stays a listpack.
]]
local RECORD = '<Bc16BI3I4I4I4I4I6dI4I4I4'
local SEALED = '<Bc16BI3I4I4I4I6dI4'
local MAX_MILLIS = 4294967295
local MAX_HOPS = 64

local function millis(seconds)
  local ms = math.floor(seconds * 1000 + 0.001)
  if ms < 0 then return 0 elseif ms > MAX_MILLIS then return MAX_MILLIS end
  return ms
end

local function packRecord(r)
  return struct.pack(RECORD, (r.rootSeen and 1 or 0) + (r.byAge and 2 or 0), r.name, r.rank, r.shard, r.list, r.generation, r.entries, r.spans,
    r.bytes, r.first, millis(r.last - r.first), millis(r.due - r.first), r.held)
end

local function unpackRecord(packed)
  local r, flags, last, due = {}, nil, nil, nil
  flags, r.name, r.rank, r.shard, r.list, r.generation, r.entries, r.spans, r.bytes, r.first, last, due, r.held =
    struct.unpack(RECORD, packed)
  r.rootSeen, r.byAge = flags % 2 == 1, flags >= 2
  r.last = r.first + last / 1000
  r.due = r.first + due / 1000
  return r
end

-- Reasons as they are packed; the wrapper knows their order.
local REASON = { ['root-idle'] = 1, idle = 2, ['max-age'] = 3, ['max-bytes'] = 4, drain = 5 }

-- The sealed form of what a record holds; the record itself goes on with the next generation, empty.
local function sealRecord(r, reason)
  local sealed = struct.pack(SEALED, REASON[reason], r.name, r.rootSeen and 1 or 0, r.shard, r.generation, r.entries,
    r.spans, r.bytes, r.first, millis(r.last - r.first))
  r.list, r.generation, r.entries, r.spans, r.bytes = r.list + 1, r.generation + 1, 0, 0, 0
  return sealed
end

-- Follows redirects from an id. Returns the handle and its packed record, or nothing when the id is unknown.
local function findHandle(id, lookup, visited)
  local value = lookup(id)
  for _ = 1, MAX_HOPS do
    if not value then return nil end
    if #value ~= 16 then return id, value end
    if visited then visited[#visited + 1] = id end
    id = value
    value = lookup(id)
  end
  error('CORRUPT redirects of ' .. KEYS[1] .. ' do not end')
end
