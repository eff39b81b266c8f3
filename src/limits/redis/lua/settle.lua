-- A call is over.
--
-- ARGV[4..6]: the call's id, how it ended, and the tokens it used or how long the key cools down;
-- ARGV[7..12]: what the provider says of its limits.
local id, how, amount, hints = ARGV[4], ARGV[5], tonumber(ARGV[6]), hints_from(7)
local key = load(1)
if how == 'used' then
  end_call(key, id, true, amount)
  is_taken_again(key, id)
elseif how == 'unknown' then
  end_call(key, id, true)
  nobody_tries(key, id)
elseif how == 'not_made' then
  end_call(key, id, false)
  nobody_tries(key, id)
elseif how == 'rate_limited' then
  -- Before it is counted itself, as for a call that is answered.
  local ever = { calls = key.ever_calls, tokens = key.ever_tokens }
  local before = end_call(key, id, true, 0)
  is_taken_again(key, id)
  for which, hint in pairs(hints) do
    told(key, which, hint.limit)
    if before then
      local meanwhile = ever[which] - before[which]
      heard_what_is_left(key, which, hint.left, hint.resets_in, key['ever_' .. which] - meanwhile)
    end
  end
  key.cooling_until = math.max(key.cooling_until, now + amount)
elseif how == 'key_refused' then
  end_call(key, id, true, 0)
  key.refused_until, key.tried_by = now + rest, ''
end
save(key)
return 'OK'
