-- How things stand with the keys: for each the provider's limits (-1 for none), calls and tokens, calls under way, and for how long it cools
-- down and is set aside.
local told = {}
for place = 1, (#KEYS - 1) / 4 do
  local key = load(place)
  if key.changed then
    save(key)
  end
  told[place] = {
    key.told_calls or -1,
    key.told_tokens or -1,
    used(key, 'calls'),
    used(key, 'tokens'),
    redis.call('ZCARD', key.names.leases),
    math.ceil(math.max(key.cooling_until - now, 0)),
    math.ceil(math.max(key.refused_until - now, 0)),
  }
end
return told
