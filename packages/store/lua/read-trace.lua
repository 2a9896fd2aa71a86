#!lua flags=no-writes
--[[ read-trace: a small trace as it is at one moment. A script, as its names are bytes: clients make text of those of a map.
KEYS     1  trace
RETURNS  { field, value, … }
COST     O(fields)
]]
return redis.call('HGETALL', KEYS[1])
