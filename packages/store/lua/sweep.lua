#!lua flags=allow-oom
--[[ sweep: deletes entries of lists that belonged to a completed generation, unless the trace is a new one by now.
KEYS     1  trace
ARGV     1  incarnation, 2… fields, 1 to 256
RETURNS  number of fields deleted
COST     O(fields)
]]
if redis.call('HGET', KEYS[1], 'i') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], unpack(ARGV, 2))
