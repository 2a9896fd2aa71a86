--[[ trace: what the scripts below share about the one hash per trace. Included by them, never run alone.

FIELDS of the hash span-buf:ssr:{project:trace}
  :<id>                  a handle, of 8 bytes of span id: the segment's record, packed (RECORD below), or, when the segment went
                         into another one, the next handle towards that one's (a redirect)
  :<id>.<list>.<k>       k-th entry, from 0, of a list of member keys:
                           <c|d|b><span id>.<write id>   one payload: colocated, distributed or both
                           >:<id>.<list>.<entries>       another list, linked when two segments merged
  #:<id>.<list>          a sealed generation, packed (sealRecord below)
  =<0 to ?>              a chunk: a handle's id, then up to 7 ids of spans that were linked to it, 8 bytes each; 16 chunks at most
  ~<end of id>           a bucket: ids that found no room in chunks, each with the id of its handle; 64 at most. The last 12 bits
                         of an id name its bucket; where that is full its last 3 bytes do, then 4, and so on
  @<source>/<partition>  highest offset taken from there, 20 digits
  !<token>             a call that has been applied, other than the one in i
  n                    generations that hold spans, live or sealed; 0 or absent: nothing waits
  i                    incarnation: '!<token>.<when>' of the call that made the hash; fences what is deleted late
  f                    of a large trace that holds no spans: wall time, Unix seconds, at which it is to be forgotten
  e[<slice>]           epoch of what it holds; absent where that includes anything that nobody would read again
  o                    sealed in passing and perhaps not in a queue yet: places: handle (9 bytes), list and shard (4 each)

Lists of a handle are numbered upwards from a number drawn at random when its record is made: no entry, list or sealed
generation of one incarnation has the name of one in another. A list is of one shard from its first span on.

A handle names a segment for as long as its trace is known, whatever its root turns out to be: the root's id is the
record's name. Handles are united by rank, so that no chain of redirects or of linked lists is longer than log2 of the
ids in the segment. Records and chunks have at most 64 bytes, so that the hash of a small trace stays a listpack; and
ids lie in few fields, since a field of a large hash costs some 90 bytes beside its value, and each in a listpack is searched for.

Every call makes anew what a script is made of: so functions are few and capture little, and records are arrays.
]]
-- Of a record: its format, and what is where once it is unpacked. FLAGS: 1 the root was seen, 2 due because of its age.
-- FIRST is Unix seconds; LAST and DUE are milliseconds since then.
local RECORD = '<Bc8BI3I4I4I4I4I6dI4I4I4'
local FLAGS, NAME, RANK, SHARD, LIST, GENERATION, ENTRIES, SPANS, BYTES, FIRST, LAST, DUE, HELD = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13

-- The sealed form of what a record holds; the record itself goes on with the next generation, empty. Reasons are numbers:
-- 1 root-idle, 2 idle, 3 max-age, 4 max-bytes, 5 drain.
local function sealRecord(r, reason)
  local flags, name, _, shard, list, generation, entries, spans, bytes, first, last = unpack(r)
  r[5], r[6], r[7], r[8], r[9] = list + 1, generation + 1, 0, 0, 0
  return struct.pack('<Bc8BI3I4I4I4I6dI4', reason, name, flags % 2, shard, generation, entries, spans, bytes, first, last)
end
