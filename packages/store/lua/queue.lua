--[[ queue: what the scripts on one shard's queue share. Included by them, never run alone.

KEYS of all of them, in one slot:
  1  in-flight    sorted set: entry -> end of its lease, server microseconds
  2  parked       hash: entry -> JSON that says why; nobody takes it until it is put back
  3  forgotten    sorted set: key of a large trace -> Unix seconds of wall time at which it is unlinked
  4  held         sorted set: entry -> Unix seconds of wall time at which it is taken whatever message time says
  5  tries        hash: entry that could not be produced -> how often, a blank, the lease at which it was counted last
  6… due          a sorted set for each lane: entry -> due time, Unix seconds of message time; -inf: at once

An entry is a segment key, a dot and the number of a list. The entries of one project are all in one lane, those of many
projects in each: so a project with a long backlog holds up its own lane alone. The number of lanes is a power of two.
]]
-- Locals cost a third of what globals do.
local call, match, byte, tonumber, tostring, unpack = redis.call, string.match, string.byte, tonumber, tostring, unpack
local inFlight, parked, forgotten, held, tries = unpack(KEYS, 1, 5)
local FIRST_LANE = 6
local LANES = #KEYS - FIRST_LANE + 1
local PROJECT_AT = #'span-buf:s:{' + 1
local PRIME = 65521
local COLON = 58

-- The due set that an entry belongs in. Project ids are digits, as a rule.
local function dueOf(entry)
  local digits = match(entry, '^%d+', PROJECT_AT)
  if digits then return KEYS[FIRST_LANE + tonumber(digits) % PRIME % LANES] end
  local hash, at = 0, PROJECT_AT
  while byte(entry, at) ~= COLON do
    hash = (hash * 31 + byte(entry, at)) % PRIME
    at = at + 1
  end
  return KEYS[FIRST_LANE + hash % LANES]
end

-- The list under a key of `lists`: what is done to many entries of a set at once costs little more than to one.
local function listOf(lists, key)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  return list
end

-- Whether nothing is in the queue. What is in held is in due or in-flight as well, or stands for nothing.
local function isEmpty()
  return call('EXISTS', inFlight, parked, forgotten, unpack(KEYS, FIRST_LANE)) == 0
end

-- Never shorter than another call has set it.
local function lengthen(key, ttlSeconds)
  if call('TTL', key) < ttlSeconds then call('EXPIRE', key, ttlSeconds) end
end
