#!lua flags=allow-oom
--[[ settle-offsets: gives offsets of one chunk their receipts. Each is counted once, however often it is settled.
KEYS     1  ledger     as in open-books.lua
         2  receipts   bitmap of the chunk: bit k is offset chunk x 65536 + k
ARGV     1  ttlSeconds
         2  source
         3  chunk
         4  fate
         5  ranges     pairs of two bytes each, little endian: first and last offset in the chunk; 1 to 2,000 pairs
RETURNS  receipts that are new; -1 without books
COST     O(offsets) where they lie scattered, less in ranges; counting looks at 8 KiB twice; O(chunks) that are left out
]]
local call, unpack = redis.call, unpack
local ledger, receipts = KEYS[1], KEYS[2]
local ttlSeconds, source, chunk, fate, ranges = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local CHUNK = 65536
local OPS_AT_ONCE = 1500
local FEW = 24

local function part(of) return string.format('part %s %.0f', source, of) end
local base, taken, high, isPart =
  unpack(call('HMGET', ledger, 'base ' .. source, 'taken ' .. source, 'high ' .. source, part(chunk)))
if not base then return -1 end
high = tonumber(high)
local start = chunk * CHUNK
local firstInBooks = math.max(0, tonumber(base) - start)

local asked, before, highest = 0, 0, -1
local op, ops = {}, 0
local function flush()
  if ops > 0 then call('BITFIELD', receipts, unpack(op, 1, 4 * ops)) end
  ops = 0
end
local function bits(from, to)
  for bit = from, to do
    local at = 4 * ops
    op[at + 1], op[at + 2], op[at + 3], op[at + 4] = 'SET', 'u1', bit, 1
    ops = ops + 1
    if ops == OPS_AT_ONCE then flush() end
  end
end
local isOver = chunk <= high and not isPart
local known = isOver and 0 or call('BITCOUNT', receipts)
for at = 1, #ranges, 4 do
  local first, last = struct.unpack('<I2I2', ranges, at)
  local clipped = math.max(first, firstInBooks)
  before = before + math.min(last + 1, clipped) - first
  if clipped <= last then
    asked = asked + last - clipped + 1
    highest = math.max(highest, last)
    if not isOver and last - clipped < FEW then
      bits(clipped, last)
    elseif not isOver then
      -- Whole bytes at once, and what lies before and behind them bit by bit.
      local firstByte, afterByte = math.ceil(clipped / 8), math.floor((last + 1) / 8)
      bits(clipped, firstByte * 8 - 1)
      call('SETRANGE', receipts, firstByte, string.rep('\255', afterByte - firstByte))
      bits(afterByte * 8, last)
    end
  end
end
flush()
if before > 0 then call('HINCRBY', ledger, 'before ' .. source, before) end
if highest < 0 then return 0 end

local settled = isOver and 0 or call('BITCOUNT', receipts)
local new = settled - known
if new > 0 then call('HINCRBY', ledger, 'n ' .. source .. ' ' .. fate, new) end
-- What is restored says nothing new where it is known.
if asked > new and fate ~= 'restored' then call('HINCRBY', ledger, 'again ' .. source, asked - new) end
if start + highest + 1 > tonumber(taken) then
  call('HSET', ledger, 'taken ' .. source, string.format('%.0f', start + highest + 1))
end
if chunk > high then
  for each = high + 1, chunk do call('HSET', ledger, part(each), 1) end
  call('HSET', ledger, 'high ' .. source, string.format('%.0f', chunk))
end
if settled == CHUNK then
  call('HDEL', ledger, part(chunk))
  call('UNLINK', receipts)
elseif new > 0 then
  call('EXPIRE', receipts, ttlSeconds)
end
call('EXPIRE', ledger, ttlSeconds)
return new
