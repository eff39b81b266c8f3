-- What all scripts share: the time, and a key of a provider as it is now.
--
-- KEYS[1] is the provider's clock; then come four for each key: room, parts, calls, leases.
-- ARGV[1..3]: the window, how long a refused key rests, how long keys are kept; in milliseconds, like all times here.
local window, rest, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
-- Recent use is kept in parts of a window; each counts until all of it is older than the window.
local part = window / 120

-- This server's time. It does not go back by less than a window. If it goes back by more (another server, with another clock), or if there is
-- no clock (all was lost), a new era begins: what an earlier one has counted is worth nothing.
local now, era, era_age
do
  local time = redis.call('TIME')
  local last
  now = time[1] * 1000 + time[2] / 1000
  era, last = unpack(redis.call('HMGET', KEYS[1], 'era', 'last'))
  last = tonumber(last)
  if last and last > now then
    if last - now < window then
      now = last
    else
      era = false
    end
  end
  if not era then
    era = string.format('%.3f', now)
    redis.call('HSET', KEYS[1], 'era', era)
  end
  redis.call('HSET', KEYS[1], 'last', string.format('%.3f', now))
  era_age = now - tonumber(era)
end

-- Fields of the hash `room` that are numbers. Limits are absent where there are none.
local NUMBERS = {
  'set_calls', 'set_tokens', -- limits: what the operator set,
  'told_calls', 'told_tokens', -- and what the provider says they are
  'recent_calls', 'recent_tokens', 'first_part', 'last_part', -- answered within the last window, and in which parts
  'ever_calls', 'ever_tokens', -- ever answered
  'going_calls', 'going_tokens', -- on their way: not answered
  'calls_peak', 'calls_peak_until', 'calls_latest', 'calls_latest_until', -- use by others
  'tokens_peak', 'tokens_peak_until', 'tokens_latest', 'tokens_latest_until',
  'cooling_until', 'refused_until',
  'coolings', 'in_a_row', 'since', 'at_once', -- of 429s, see resting.rs; at_once is 0 for as many as the limits allow
  'tokens_told_at', -- when the provider last told of its limit of tokens
}
local IS_LIMIT = { set_calls = true, set_tokens = true, told_calls = true, told_tokens = true }

local function save(key)
  local fields = { 'era', era, 'tried_by', key.tried_by }
  local absent = {}
  for _, name in ipairs(NUMBERS) do
    if key[name] then
      fields[#fields + 1] = name
      fields[#fields + 1] = string.format('%.3f', key[name])
    else
      absent[#absent + 1] = name
    end
  end
  redis.call('HSET', key.names.room, unpack(fields))
  if #absent > 0 then
    redis.call('HDEL', key.names.room, unpack(absent))
  end
  redis.call('PEXPIRE', key.names.room, kept)
end

-- What is kept of a call under way: what it holds, the part in which it was answered (0: not yet), what had ever been answered when it was
-- granted, and how often the key had begun to cool down by then.
local function pack_call(call)
  return cmsgpack.pack({ call.tokens, call.part, call.before.calls, call.before.tokens, call.coolings })
end

local function unpack_call(packed)
  local call = cmsgpack.unpack(packed)
  return { tokens = call[1], part = call[2], before = { calls = call[3], tokens = call[4] }, coolings = call[5] }
end

-- Counts something that was answered, or has ended, now. Answers the part.
local function add_recent(key, calls, tokens)
  local number = math.floor(now / part)
  redis.call('HINCRBY', key.names.parts, 'c' .. number, calls)
  redis.call('HINCRBY', key.names.parts, 't' .. number, tokens)
  redis.call('PEXPIRE', key.names.parts, kept)
  if key.recent_calls == 0 and key.recent_tokens == 0 then
    key.first_part = number
  end
  key.last_part = number
  key.recent_calls = key.recent_calls + calls
  key.recent_tokens = key.recent_tokens + tokens
  return number
end

-- Parts up to this one are older than the window.
local function last_old_part()
  return math.floor((now - window) / part) - 1
end

local function forget_old(key)
  local old = last_old_part()
  if key.first_part > old or key.last_part == 0 then
    return false
  end
  if key.last_part <= old then
    redis.call('DEL', key.names.parts)
    key.recent_calls, key.recent_tokens, key.first_part, key.last_part = 0, 0, 0, 0
    return true
  end
  local fields = {}
  for number = key.first_part, old do
    fields[#fields + 1] = 'c' .. number
    fields[#fields + 1] = 't' .. number
  end
  local gone = redis.call('HMGET', key.names.parts, unpack(fields))
  for place = 1, #gone, 2 do
    key.recent_calls = key.recent_calls - (tonumber(gone[place]) or 0)
    key.recent_tokens = key.recent_tokens - (tonumber(gone[place + 1]) or 0)
  end
  redis.call('HDEL', key.names.parts, unpack(fields))
  key.first_part = old + 1
  return true
end

-- The provider answered a call that was granted when the key had begun to cool down so often.
local function was_answered(key, coolings)
  if coolings == key.coolings then
    key.in_a_row = 0
    key.at_once = key.at_once > 0 and key.at_once + 1 or 0
  end
end

-- A call is over: it was made and used so many tokens (nil: as many as were reserved), or it was not made. Answers what is known of it, or nil
-- if it is not under way (any more).
local function end_call(key, id, was_made, used)
  local packed = redis.call('HGET', key.names.calls, id)
  if not packed then
    return nil
  end
  redis.call('HDEL', key.names.calls, id)
  redis.call('ZREM', key.names.leases, id)
  local call = unpack_call(packed)
  if call.coolings == key.coolings then
    key.since = key.since - 1
  end
  local calls = was_made and 1 or 0
  local tokens = was_made and (used or call.tokens) or 0
  if call.part == 0 then
    key.going_calls = key.going_calls - 1
    key.going_tokens = key.going_tokens - call.tokens
    if was_made then
      key.ever_calls = key.ever_calls + 1
      key.ever_tokens = key.ever_tokens + tokens
      add_recent(key, 1, tokens)
    end
  elseif call.part > last_old_part() then
    redis.call('HINCRBY', key.names.parts, 'c' .. call.part, calls - 1)
    redis.call('HINCRBY', key.names.parts, 't' .. call.part, tokens - call.tokens)
    key.recent_calls = key.recent_calls + calls - 1
    key.recent_tokens = key.recent_tokens + tokens - call.tokens
  end
  return call
end

-- The call that was to find out whether the provider takes the key has not.
local function nobody_tries(key, id)
  if key.tried_by == id then
    key.tried_by = ''
  end
end

-- The call that was to find out says that it does.
local function is_taken_again(key, id)
  if key.tried_by == id then
    key.tried_by, key.refused_until = '', 0
  end
end

-- The key with this place, as it is now. `changed` says whether it must be saved.
local function load(place)
  local first = 4 * place - 2
  local key = { names = { room = KEYS[first], parts = KEYS[first + 1], calls = KEYS[first + 2], leases = KEYS[first + 3] } }
  local values = redis.call('HMGET', key.names.room, 'era', 'tried_by', unpack(NUMBERS))
  local known = values[1] == era
  if not known then
    redis.call('DEL', key.names.room, key.names.parts, key.names.calls, key.names.leases)
  end
  key.tried_by = known and values[2] or ''
  for index, name in ipairs(NUMBERS) do
    local value = known and tonumber(values[index + 2])
    key[name] = value or (not IS_LIMIT[name] and 0) or nil
  end
  key.changed = forget_old(key)
  local ended = redis.call('ZRANGEBYSCORE', key.names.leases, '-inf', now, 'LIMIT', 0, 500)
  for _, id in ipairs(ended) do
    end_call(key, id, true)
    nobody_tries(key, id)
    key.changed = true
  end
  return key
end

local function lower(one, other)
  if one and other then
    return math.min(one, other)
  end
  return one or other
end

-- What others have used (`which` is calls or tokens), and how long that still counts.
local function others(key, which)
  for _, name in ipairs({ '_peak', '_latest' }) do
    local left = key[which .. name .. '_until'] - now
    if left > 0 then
      return key[which .. name], left
    end
  end
  return 0, 0
end

local function used(key, which)
  return key['recent_' .. which] + key['going_' .. which] + others(key, which)
end

local function told(key, which, limit)
  -- A limit of 0 is how some say that there is none.
  if limit and limit > 0 then
    key['told_' .. which] = limit
    if which == 'tokens' then
      key.tokens_told_at = now
    end
  end
end

-- What the provider says is left, to one of ours before whose grant so much had ever been answered (see others_use.rs).
local function heard_what_is_left(key, which, left, resets_in, answered_before)
  local limit = lower(key['set_' .. which], key['told_' .. which])
  if not (limit and left) then
    return
  end
  local provider_used = math.max(limit - left, 0)
  local recent, going = key['recent_' .. which], key['going_' .. which]
  local meanwhile = key['ever_' .. which] - answered_before
  local least = math.max(provider_used - recent - going, 0)
  local most = math.max(provider_used - math.max(recent - meanwhile, 0), 0)
  local until_ = now + math.min(resets_in or window, window)
  local peak = math.min(key[which .. '_peak'], most)
  if key[which .. '_peak_until'] > now and peak > least then
    key[which .. '_peak'] = peak
  else
    key[which .. '_peak'], key[which .. '_peak_until'] = least, until_
  end
  key[which .. '_latest'], key[which .. '_latest_until'] = least, until_
end

-- Six arguments from this one on: of calls and of tokens, the limit, what is left, and when all of it is back; '' for what was not said.
local function hints_from(first)
  local hints = {}
  for index, which in ipairs({ 'calls', 'tokens' }) do
    local at = first + 3 * (index - 1)
    hints[which] = { limit = tonumber(ARGV[at]), left = tonumber(ARGV[at + 1]), resets_in = tonumber(ARGV[at + 2]) }
  end
  return hints
end
