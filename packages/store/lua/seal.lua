#!lua flags=allow-oom
--[[ seal: turns what a queue entry stands for into an immutable generation, or says where it went. Running it again gives
the same generation again until that is completed.
KEYS     1  trace
ARGV     1  handle, 2 list      as in the queue entry
         3  now                 message time, Unix seconds
         4  reason              '' : only if due; else seal in any case, for this reason unless it is due as well
         5  pageEntries         most entries of the list to return at once
RETURNS  { 'SEALED', incarnation, packed (SEALED of trace.lua), entry 0, entry 1, … up to pageEntries }
         { 'LIVE', handle, list, shard, due, held }   not due yet, or its spans are in another segment or generation by now
         { 'GONE' }                             completed, or nothing is known of it
COST     O(pageEntries)
]]
--@include trace
local trace, handle, list = KEYS[1], ARGV[1], ARGV[2]
local now = tonumber(ARGV[3])
local reason, pageEntries = ARGV[4], tonumber(ARGV[5])
local sealedField = '#' .. handle .. '.' .. list

local function reply(packed)
  local entries = select(6, struct.unpack(SEALED, packed))
  local out = { 'SEALED', redis.call('HGET', trace, 'i'), packed }
  local fields = {}
  for k = 0, math.min(entries, pageEntries) - 1 do fields[k + 1] = handle .. '.' .. list .. '.' .. k end
  for i, entry in ipairs(redis.call('HMGET', trace, unpack(fields))) do out[3 + i] = entry end
  return out
end

local packed = redis.call('HGET', trace, sealedField)
if packed then return reply(packed) end

local current, record = findHandle(handle, function(id) return redis.call('HGET', trace, id) end)
if not current then return { 'GONE' } end
local r = unpackRecord(record)
if r.spans == 0 then return { 'GONE' } end
local due = r.due <= now
if current ~= handle or r.list ~= tonumber(list) or (reason == '' and not due) then
  return { 'LIVE', current, r.list, r.shard, string.format('%.17g', r.due), r.held }
end
if due then
  reason = r.byAge and 'max-age' or r.rootSeen and 'root-idle' or 'idle'
end
packed = sealRecord(r, reason)
redis.call('HSET', trace, sealedField, packed, current, packRecord(r))
return reply(packed)
