-- A call is over.
--
-- ARGV[4..8]: the call's id, how it ended, the tokens it used or how long the provider wants to be left alone ('' if it does not say), and how
-- long a key then cools down at first and at most; ARGV[9..14]: what the provider says of its limits.
local id, how, amount, hints = ARGV[4], ARGV[5], tonumber(ARGV[6]), hints_from(9)
local usual, longest = tonumber(ARGV[7]), tonumber(ARGV[8])
local key = load(1)

-- The provider said 429, of which nothing but the call counts.
local function end_refused_call()
  -- Before it is counted itself, as for a call that is answered.
  local ever = { calls = key.ever_calls, tokens = key.ever_tokens }
  local call = end_call(key, id, true, 0)
  is_taken_again(key, id)
  for which, hint in pairs(hints) do
    told(key, which, hint.limit)
    if call then
      local meanwhile = ever[which] - call.before[which]
      heard_what_is_left(key, which, hint.left, hint.resets_in, key['ever_' .. which] - meanwhile)
    end
  end
  return call
end

if how == 'used' then
  local call = end_call(key, id, true, amount)
  if call and call.part == 0 then
    was_answered(key, call.coolings)
  end
  is_taken_again(key, id)
elseif how == 'unknown' then
  end_call(key, id, true)
  nobody_tries(key, id)
elseif how == 'not_made' then
  end_call(key, id, false)
  nobody_tries(key, id)
elseif how == 'too_large' then
  end_refused_call()
elseif how == 'rate_limited' then
  local call = end_refused_call()
  if call and call.coolings == key.coolings then
    key.coolings, key.in_a_row, key.since = key.coolings + 1, key.in_a_row + 1, 0
  end
  key.at_once = 1
  local doublings = math.min(math.max(key.in_a_row - 1, 0), 31)
  local cooling = amount or math.min(usual * 2 ^ doublings, math.max(longest, usual))
  key.cooling_until = math.max(key.cooling_until, now + cooling)
elseif how == 'key_refused' then
  end_call(key, id, true, 0)
  key.refused_until, key.tried_by = now + rest, ''
end
save(key)
return 'OK'
