#!lua flags=allow-oom
--[[ announce-process: notes that a process works on the buffer, and, of one that writes, which layout until when. Whenever another
one begins, those that have been silent for too long are forgotten, so that there are never many more than run.
KEYS     1  processes   hash, all of it Unix seconds of this server's clock:
              p<id>       "<forgotten at> <since> <facts>"
              w<layout>   "<said last> <held until>": what was written in this layout is in no queue whose backstop is later
              u           the latest backstop of all that any process may have begun by now
              b           the same of what was begun before anybody announced anything
ARGV     1  ttlSeconds, 2 presenceSeconds, 3 id, 4 facts, any text
         5  layout        in which it writes, or '' where it does not
         6  heldSeconds   from the first span of a segment to its backstop; of one that writes
RETURNS  1
COST     O(1); O(processes) for the first call of each
]]
local call, processes = redis.call, KEYS[1]
local ttlSeconds, presenceSeconds, field, layout = tonumber(ARGV[1]), tonumber(ARGV[2]), 'p' .. ARGV[3], ARGV[5]
local time = call('TIME')
local now = time[1] + time[2] / 1000000

local function seconds(number)
  return string.format('%.3f', number)
end

local before = call('HGET', processes, field)
local since = before and string.match(before, '^%S+ (%S+)') or seconds(now)
local fields = { field, seconds(now + presenceSeconds) .. ' ' .. since .. ' ' .. ARGV[4] }
if layout ~= '' then
  -- It may go on writing until it is forgotten.
  local begun = now + presenceSeconds + ARGV[6]
  local untilNow = seconds(math.max(tonumber(call('HGET', processes, 'u') or 0), begun))
  fields[3], fields[4], fields[5], fields[6] = 'u', untilNow, 'w' .. layout, seconds(now) .. ' ' .. untilNow
  if call('HEXISTS', processes, 'b') == 0 then fields[7], fields[8] = 'b', untilNow end
end
call('HSET', processes, unpack(fields))
if call('TTL', processes) < ttlSeconds then call('EXPIRE', processes, ttlSeconds) end
if before then return 1 end
local all = call('HGETALL', processes)
for at = 1, #all, 2 do
  local isProcess = string.sub(all[at], 1, 1) == 'p'
  if isProcess and tonumber(string.match(all[at + 1], '^%S+')) <= now then call('HDEL', processes, all[at]) end
end
return 1
