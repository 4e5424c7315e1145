-- Writes jobs as a worker of bullmq 6.7 leaves them: the same fields, encodings and sizes.
-- ARGV: 1 what keys begin with, 2 first number, 3 how many, 4 completed, failed or wait, 5 time of number 0 in ms,
--       6 every how many have logs, 7 a priority, 8 are the last in, first out (0: none)
local base, state, time = ARGV[1], ARGV[4], tonumber(ARGV[5])
local logged, ranked, lifo = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local function every(number, count) return count > 0 and number % count == 0 end
local listed = {}
for number = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1 do
  local id = string.format('%d', number)
  local key, at = base .. id, string.format('%d', time + number)
  local priority = every(number, ranked) and tostring(number % 7 + 1) or '0'
  local opts = '{"removeOnComplete":false,"backoff":{"delay":1000,"type":"exponential"},"attempts":3'
  if priority ~= '0' then opts = opts .. ',"priority":' .. priority end
  if every(number, lifo) then opts = opts .. ',"lifo":true' end
  redis.call('HSET', key, 'name', 'send', 'data', '{"to":"user' .. id .. '@example.com","subject":"Welcome aboard ' .. id
    .. '","template":"welcome","vars":{"first":"Ada","plan":"pro","seats":' .. id .. '},"body":"' .. string.rep('x', 60)
    .. '"}', 'opts', opts .. '}', 'timestamp', at, 'delay', '0', 'priority', priority)
  if state ~= 'wait' then
    redis.call('HSET', key, 'processedOn', at)
    redis.call('HINCRBY', key, 'ats', 1)
    redis.call('HINCRBY', key, 'atm', 1)
    if state == 'failed' then
      redis.call('HSET', key, 'stacktrace', '["UnrecoverableError: smtp said 550 no such user'
        .. string.rep('\\n    at Worker.processJob (/srv/app/node_modules/bullmq/dist/cjs/classes/worker.js:578:21)', 9)
        .. '"]', 'failedReason', 'smtp said 550 no such user', 'finishedOn', at)
    else
      redis.call('HSET', key, 'returnvalue', '{"messageId":"<' .. id .. '@mail.example.com>","accepted":1}',
        'finishedOn', at)
    end
    if every(number, logged) then redis.call('RPUSH', key .. ':logs', 'connected to mx1.example.com', 'sent ' .. id) end
    listed[#listed + 1] = at
  end
  listed[#listed + 1] = id
end
if state == 'wait' then
  redis.call('LPUSH', base .. 'wait', unpack(listed))
else
  redis.call('ZADD', base .. state, unpack(listed))
end
