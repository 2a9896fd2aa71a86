#!lua flags=allow-oom
--[[ complete: forgets a sealed generation that has been produced. First step of done: once its record is gone, nobody
reads its payloads again.
KEYS     1  trace
ARGV     1  handle, 2 list, 3 incarnation   as seal returned them
         4  dedupeWindowSeconds   integer >= 0: how long a trace without spans stays known; 0: not at all
         5  entries               entries of the list to delete at once, 0 to 512
         6  largeFields           a trace of more fields than this is large
         7  graceSeconds          how much longer than the window a large one may live
RETURNS  'GONE'   nothing is known of the trace any more
         'KNOWN'  other entries of its lists must be swept
         'LARGE'  the same, and forget is to be called when the window is over: Redis frees a key that expires while
                  everything waits, but one that is unlinked in the background
COST     O(entries); a trace that is forgotten is freed in the background
]]
local trace, list = KEYS[1], ARGV[1] .. '.' .. ARGV[2]
local incarnation, window, entries = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('HGET', trace, 'i') ~= incarnation then return 'GONE' end
if redis.call('HDEL', trace, '#' .. list) == 0 then return 'KNOWN' end
local waiting = redis.call('HINCRBY', trace, 'n', -1)
if waiting <= 0 and window == 0 then
  redis.call('UNLINK', trace)
  return 'GONE'
end
local fields = {}
for k = 0, entries - 1 do fields[k + 1] = list .. '.' .. k end
if entries > 0 then redis.call('HDEL', trace, unpack(fields)) end
if waiting > 0 then return 'KNOWN' end
if redis.call('HLEN', trace) <= tonumber(ARGV[6]) then
  redis.call('EXPIRE', trace, window)
  return 'KNOWN'
end
redis.call('HSET', trace, 'f', redis.call('TIME')[1] + window)
redis.call('EXPIRE', trace, window + tonumber(ARGV[7]))
return 'LARGE'
