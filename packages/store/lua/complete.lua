#!lua flags=allow-oom
--[[ complete: forgets a sealed generation that has been produced. First step of done: once its record is gone, nobody
reads its payloads again.
KEYS     1  trace
ARGV     1  handle, 2 list, 3 incarnation   as seal returned them
         4  dedupeWindowSeconds   integer >= 0: how long a trace without spans stays known; 0: not at all
         5  entries               entries of the list to delete at once, 0 to 256
         6  largeFields           a trace of more fields than this is large
         7  graceSeconds          how much longer than the window a large one may live
RETURNS  'GONE'   nothing is known of the trace any more
         'KNOWN'  other entries of its lists must be swept
         'LARGE'  the same, and forget is to be called when the window is over: Redis frees a key that expires while
                  everything waits, but one that is unlinked in the background
COST     O(entries); a trace that is forgotten is freed in the background
]]
local call, trace, list, window = redis.call, KEYS[1], ARGV[1] .. '.' .. ARGV[2], ARGV[4]
local sealed = '#' .. list
local incarnation, packed, waiting = unpack(call('HMGET', trace, 'i', sealed, 'n'))
if incarnation ~= ARGV[3] then return 'GONE' end
if not packed then return 'KNOWN' end
waiting = (waiting or 0) - 1
if waiting <= 0 and window == '0' then
  call('UNLINK', trace)
  return 'GONE'
end
local fields = { sealed }
for k = 0, ARGV[5] - 1 do fields[k + 2] = list .. '.' .. k end
if waiting > 0 then call('HSET', trace, 'n', waiting) else fields[#fields + 1] = 'n' end
call('HDEL', trace, unpack(fields))
if waiting > 0 then return 'KNOWN' end
if call('HLEN', trace) <= ARGV[6] + 0 then
  call('EXPIRE', trace, window)
  return 'KNOWN'
end
call('HSET', trace, 'f', call('TIME')[1] + window)
call('EXPIRE', trace, window + ARGV[7])
return 'LARGE'
