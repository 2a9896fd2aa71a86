#!lua flags=allow-oom
--[[ forget-later: notes large traces that are to be forgotten when their dedupe window is over. Whoever claims learns of it.
KEYS     1  forgotten   sorted set: trace key -> Unix seconds of wall time
ARGV     1  ttlSeconds, 2 dedupeWindowSeconds, 3... trace keys
RETURNS  1
COST     O(log(set)) a trace
]]
local at = redis.call('TIME')[1] + tonumber(ARGV[2])
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], at, ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
