-- The provider has begun to answer a call: its minute begins.
--
-- ARGV[4]: the call's id; ARGV[5..10]: what the provider says of its limits.
local id, hints = ARGV[4], hints_from(5)
local key = load(1)
for which, hint in pairs(hints) do
  told(key, which, hint.limit)
end
local packed = redis.call('HGET', key.names.calls, id)
local call = packed and unpack_call(packed)
if call and call.part == 0 then
  was_answered(key, call.coolings)
  key.going_calls, key.going_tokens = key.going_calls - 1, key.going_tokens - call.tokens
  call.part = add_recent(key, 1, call.tokens)
  redis.call('HSET', key.names.calls, id, pack_call(call))
  for which, hint in pairs(hints) do
    heard_what_is_left(key, which, hint.left, hint.resets_in, call.before[which])
  end
  key.ever_calls, key.ever_tokens = key.ever_calls + 1, key.ever_tokens + call.tokens
  is_taken_again(key, id)
end
save(key)
return 'OK'
