#!lua flags=allow-oom
--[[ watch-trace: has every step of one trace logged for some time, and forgets those whose time is over.
KEYS     1  watched      sorted set: <project>:<trace> -> Unix seconds of this server's clock at which it is forgotten
ARGV     1  watchSeconds integer > 0
         2  mostTraces   integer > 0: how many may be watched at once
         3  trace        <project>:<trace>
RETURNS  1, or 0 when as many others are watched already; then nothing changed
COST     O(mostTraces)
]]
local watched = KEYS[1]
local seconds, most = ARGV[1] + 0, ARGV[2] + 0
local now = redis.call('TIME')[1] + 0
local live = redis.call('ZRANGEBYSCORE', watched, '(' .. now, '+inf', 'WITHSCORES')
local others, longest = 0, now + seconds
for i = 1, #live, 2 do
  if live[i] ~= ARGV[3] then
    others = others + 1
    longest = math.max(longest, live[i + 1] + 0)
  end
end
if others >= most then return 0 end
local over = redis.call('ZRANGEBYSCORE', watched, '-inf', now)
if #over > 0 then redis.call('ZREM', watched, unpack(over)) end
redis.call('ZADD', watched, now + seconds, ARGV[3])
redis.call('EXPIRE', watched, longest - now + 1)
return 1
