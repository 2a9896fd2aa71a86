#!lua flags=allow-oom
--[[ open-books: begins the books of one source of a partition. Those that begin at a higher offset are begun earlier.
KEYS     1  ledger     hash, fields below
         2  receipts   bitmap of the chunk of `offset`
ARGV     1  ttlSeconds
         2  source
         3  offset     what lies below it is not accounted for here
         4  chunk      offset / 65536, rounded down
DERIVED  the bitmap of the chunk in which the books began: <receipts without its number><chunk>, in the same slot
RETURNS  1 when they were begun, 0 when there were some
COST     O(1), and O(chunks) between two beginnings; up to 8 KiB are written
FIELDS of the ledger
  base <source>           first offset in the books
  taken <source>          what lies below it has been read
  high <source>           highest chunk in which an offset may have a receipt
  part <source> <chunk>   a chunk up to `high` in which an offset has none. Of the others there is no bitmap any more
  n <source> <fate>       how many offsets have come to this end
  again <source>          receipts for what had one
  before <source>         receipts for what lies below base
]]
local ledger, receipts = KEYS[1], KEYS[2]
local ttlSeconds, source, offset, chunk = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local CHUNK = 65536

local function setBits(key, from, to, value)
  while from < to do
    if from % 8 == 0 and to - from >= 8 then
      local bytes = math.floor((to - from) / 8)
      redis.call('SETRANGE', key, from / 8, string.rep(value == 1 and '\255' or '\0', bytes))
      from = from + 8 * bytes
    else
      redis.call('BITFIELD', key, 'SET', 'u1', from, value)
      from = from + 1
    end
  end
  redis.call('EXPIRE', key, ttlSeconds)
end
local function part(of) return string.format('part %s %.0f', source, of) end

local base, high = unpack(redis.call('HMGET', ledger, 'base ' .. source, 'high ' .. source))
if base and tonumber(offset) >= tonumber(base) then
  redis.call('EXPIRE', ledger, ttlSeconds, 'GT')
  return 0
end
if base then
  -- What lay below the beginning was left out of account, and counts as open now.
  local first = math.floor(tonumber(base) / CHUNK)
  local key = string.match(receipts, '^(.*:)%d+$') .. string.format('%.0f', first)
  if first <= tonumber(high) and redis.call('HEXISTS', ledger, part(first)) == 0 then setBits(key, 0, CHUNK, 1) end
  setBits(key, math.max(0, tonumber(offset) - first * CHUNK), tonumber(base) - first * CHUNK, 0)
  for each = tonumber(chunk), first do redis.call('HSET', ledger, part(each), 1) end
  redis.call('HSET', ledger, 'base ' .. source, offset)
  redis.call('EXPIRE', ledger, ttlSeconds)
  return 0
end
local below = tonumber(offset) - tonumber(chunk) * CHUNK
redis.call('UNLINK', receipts)
if below > 0 then setBits(receipts, 0, below, 1) end
redis.call('HSET', ledger, 'base ' .. source, offset, 'taken ' .. source, offset, 'high ' .. source, chunk,
  'part ' .. source .. ' ' .. chunk, 1)
redis.call('EXPIRE', ledger, ttlSeconds)
return 1
