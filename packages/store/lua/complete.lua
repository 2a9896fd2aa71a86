#!lua flags=allow-oom
--[[ complete: forgets sealed generations of one trace that have been produced. First step of done: once its record is gone,
nobody reads the payloads of a generation again.
KEYS     1  trace
ARGV     1  incarnation         as seal returned it
         2  dedupeWindowSeconds   integer >= 0: how long a trace without spans stays known; 0: not at all
         3  largeFields         a trace of more fields than this is large
         4  graceSeconds        how much longer than the window a large one may live
         then for each generation:
         1  handle, 2 list      as seal got them
         3  entries             of the list to be deleted at once, 0 to 256, and 256 of all lists together
RETURNS  'GONE'   nothing is known of the trace any more
         'KNOWN'  other entries of its lists must be swept
         'LARGE'  the same, and forget is to be called when the window is over: Redis frees a key that expires while
                  everything waits, but one that is unlinked in the background
COST     O(generations + entries); a trace that is forgotten is freed in the background
]]
local call, ARGV, trace, window = redis.call, ARGV, KEYS[1], ARGV[2]
local FIRST_ARG, STRIDE = 5, 3
local names = { 'i', 'n' }
for at = FIRST_ARG, #ARGV, STRIDE do names[#names + 1] = '#' .. ARGV[at] .. '.' .. ARGV[at + 1] end
local found = call('HMGET', trace, unpack(names))
if found[1] ~= ARGV[1] then return 'GONE' end
-- One that is named twice counts once.
local seen, fields, size, waiting = {}, {}, 0, (found[2] or 0) + 0
for k = 3, #names do
  if found[k] and not seen[names[k]] then
    local at = FIRST_ARG + STRIDE * (k - 3)
    local list = ARGV[at] .. '.' .. ARGV[at + 1] .. '.'
    size, waiting = size + 1, waiting - 1
    fields[size], seen[names[k]] = names[k], true
    for entry = 0, ARGV[at + 2] - 1 do
      size = size + 1
      fields[size] = list .. entry
    end
  end
end
if size == 0 then return 'KNOWN' end
if waiting <= 0 and window == '0' then
  call('UNLINK', trace)
  return 'GONE'
end
if waiting > 0 then
  call('HSET', trace, 'n', waiting)
else
  size = size + 1
  fields[size] = 'n'
end
call('HDEL', trace, unpack(fields))
if waiting > 0 then return 'KNOWN' end
if call('HLEN', trace) <= ARGV[3] + 0 then
  call('EXPIRE', trace, window)
  return 'KNOWN'
end
call('HSET', trace, 'f', call('TIME')[1] + window)
call('EXPIRE', trace, window + ARGV[4])
return 'LARGE'
