-- Takes room for a call on one of the keys: on that with the largest share of room, of those the one with the fewest calls under way.
--
-- ARGV[4..9]: the call's id, its tokens, its lease, a short wait, '1' if counts that are younger than a window are good enough, and for how
-- long a limit that only the provider told of rules out larger calls; then three for each key: calls and tokens per minute and concurrent
-- calls, '' for none. Answers words: granted, place, tokens held | young, until when | obstacles, and three for each key: what is in the way,
-- a number, and what there is too little of.
local id, wanted, lease, short_wait = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local told_rules_out_for = tonumber(ARGV[9])

local function word(number)
  return string.format('%.0f', math.ceil(number))
end

if ARGV[8] ~= '1' and era_age < window then
  return { 'young', word(window - era_age) }
end

-- When so much of what is used will not count any more, if nothing comes between.
local function gone_in(key, which, amount)
  local letter = which:sub(1, 1)
  local flat = redis.call('HGETALL', key.names.parts)
  local parts = {}
  for place = 1, #flat, 2 do
    if flat[place]:sub(1, 1) == letter then
      parts[#parts + 1] = { number = tonumber(flat[place]:sub(2)), amount = tonumber(flat[place + 1]) }
    end
  end
  table.sort(parts, function(one, other) return one.number < other.number end)
  local function ours_gone_in(enough)
    if enough <= 0 then
      return 0
    end
    for _, there in ipairs(parts) do
      enough = enough - there.amount
      if enough <= 0 then
        return (there.number + 1) * part + window - now
      end
    end
    return nil
  end
  local theirs, theirs_gone_in = others(key, which)
  local without = ours_gone_in(amount - theirs)
  -- Else calls under way are in the way.
  return lower(ours_gone_in(amount), without and math.max(without, theirs_gone_in)) or short_wait
end

-- The limit of tokens under which a call of so many can never be made. (A tenth more is within the error of an estimate.)
local function limit_that_rules_out(key)
  local is_told_lately = now - key.tokens_told_at < told_rules_out_for
  local limit = lower(key.set_tokens, is_told_lately and key.told_tokens or nil)
  return limit and wanted > limit + math.floor(limit / 10) and limit or nil
end

-- How much room there is; or nil and what is in the way: not_yet, when there may be room, what there is too little of | never_fits, the limit |
-- refused, when it may be tried.
local function room(key, concurrent_limit)
  if key.refused_until > now then
    return nil, { 'refused', key.refused_until - now, '' }
  end
  local too_low = limit_that_rules_out(key)
  if too_low then
    return nil, { 'never_fits', too_low, '' }
  end
  if key.tried_by ~= '' then
    return nil, { 'not_yet', short_wait, 'cooling_down' }
  end
  local share, longest, reason = 1, nil, nil
  local function block(wait, why)
    if not longest or wait > longest then
      longest, reason = wait, why
    end
  end
  local function look(limit, use, amount, wait, why)
    if not limit then
      return
    end
    local too_much = use + math.min(amount, limit) - limit
    if limit == 0 then
      block(rest, why)
    elseif too_much > 0 then
      block(wait(too_much), why)
    else
      share = math.min(share, (limit - use) / limit)
    end
  end
  if key.cooling_until > now then
    block(key.cooling_until - now, 'cooling_down')
  end
  local function per_minute(which, amount, why)
    local limit = lower(key['set_' .. which], key['told_' .. which])
    look(limit, used(key, which), amount, function(too_much) return gone_in(key, which, too_much) end, why)
  end
  per_minute('calls', 1, 'requests_per_minute')
  per_minute('tokens', wanted, 'tokens_per_minute')
  local under_way = redis.call('ZCARD', key.names.leases)
  if key.at_once > 0 and key.since >= key.at_once then
    block(short_wait, 'cooling_down')
  end
  look(concurrent_limit, under_way, 1, function() return short_wait end, 'concurrent_calls')
  if longest then
    return nil, { 'not_yet', longest, reason }
  end
  return { share = share, under_way = under_way, recent = used(key, 'calls') }
end

local function is_better(one, other)
  if one.share ~= other.share then
    return one.share > other.share
  end
  if one.under_way ~= other.under_way then
    return one.under_way < other.under_way
  end
  return one.recent < other.recent
end

local best, best_key, best_place
local obstacles = { 'obstacles' }
for place = 1, (#KEYS - 1) / 4 do
  local key = load(place)
  local limits = 10 + 3 * (place - 1)
  key.set_calls, key.set_tokens = tonumber(ARGV[limits]), tonumber(ARGV[limits + 1])
  local found, obstacle = room(key, tonumber(ARGV[limits + 2]))
  if found and (not best or is_better(found, best)) then
    best, best_key, best_place = found, key, place
  elseif not found then
    obstacles[#obstacles + 1] = obstacle[1]
    obstacles[#obstacles + 1] = word(obstacle[2])
    obstacles[#obstacles + 1] = obstacle[3]
  end
  if key.changed then
    save(key)
  end
end

if best then
  local key = best_key
  local limit = lower(key.set_tokens, key.told_tokens)
  local holding = limit and math.min(wanted, limit) or wanted
  local before = { calls = key.ever_calls, tokens = key.ever_tokens }
  local call = { tokens = holding, part = 0, before = before, coolings = key.coolings }
  redis.call('HSET', key.names.calls, id, pack_call(call))
  redis.call('ZADD', key.names.leases, now + lease, id)
  redis.call('PEXPIRE', key.names.calls, kept)
  redis.call('PEXPIRE', key.names.leases, kept)
  key.since = key.since + 1
  key.going_calls, key.going_tokens = key.going_calls + 1, key.going_tokens + holding
  if key.refused_until > 0 then
    key.tried_by = id
  end
  save(key)
  return { 'granted', word(best_place), word(holding) }
end
return obstacles
