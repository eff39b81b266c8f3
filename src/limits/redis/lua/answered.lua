-- The provider has begun to answer a call: its minute begins.
--
-- ARGV[4]: the call's id; ARGV[5..10]: what the provider says of its limits.
local id, hints = ARGV[4], hints_from(5)
local key = load(1)
for which, hint in pairs(hints) do
  told(key, which, hint.limit)
end
local call = redis.call('HGET', key.names.calls, id)
local reserved, number, before_calls, before_tokens
if call then
  reserved, number, before_calls, before_tokens = unpack(cmsgpack.unpack(call))
end
if number == 0 then
  key.going_calls, key.going_tokens = key.going_calls - 1, key.going_tokens - reserved
  number = add_recent(key, 1, reserved)
  redis.call('HSET', key.names.calls, id, cmsgpack.pack({ reserved, number, before_calls, before_tokens }))
  local before = { calls = before_calls, tokens = before_tokens }
  for which, hint in pairs(hints) do
    heard_what_is_left(key, which, hint.left, hint.resets_in, before[which])
  end
  key.ever_calls, key.ever_tokens = key.ever_calls + 1, key.ever_tokens + reserved
  is_taken_again(key, id)
end
save(key)
return 'OK'
