#!lua flags=allow-oom
--[[ complete: forgets a sealed generation that has been produced. First step of done: once its record is gone, nobody
reads its payloads again.
KEYS     1  trace
ARGV     1  handle, 2 list, 3 incarnation   as seal returned them
         4  dedupeWindowSeconds   integer >= 0: how long a trace without spans stays known; 0: not at all
         5  entries               entries of the list to delete at once, 0 to 512
RETURNS  1 when the trace is still known, so that other entries of its lists must be swept; 0 when it is gone
COST     O(entries); a trace that is forgotten is freed in the background
]]
local trace, list = KEYS[1], ARGV[1] .. '.' .. ARGV[2]
local incarnation, window, entries = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('HGET', trace, 'i') ~= incarnation then return 0 end
if redis.call('HDEL', trace, '#' .. list) == 0 then return 1 end
local waiting = redis.call('HINCRBY', trace, 'n', -1)
if waiting <= 0 and window == 0 then
  redis.call('UNLINK', trace)
  return 0
end
local fields = {}
for k = 0, entries - 1 do fields[k + 1] = list .. '.' .. k end
if entries > 0 then redis.call('HDEL', trace, unpack(fields)) end
if waiting <= 0 then redis.call('EXPIRE', trace, window) end
return 1
