// npm `openai` against `callboard simulate-llm`: what our own adapter is tested with must be the real dialect.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { Process, Site } from './callboard.mjs';

let site;
let provider;
let client;

before(async () => {
  site = new Site();
  provider = await Process.start(site.directory, ['simulate-llm', '--port', '0']);
  client = new OpenAI({ baseURL: `${provider.url}/v1`, apiKey: 'sk-unused', maxRetries: 2 });
});

after(async () => {
  await provider.end('SIGTERM');
  site.remove();
});

const messages = [{ role: 'user', content: 'Hello' }];
const ask = (simulate, more = {}) => ({ model: 'simulated', messages, simulate, ...more });

test('a whole answer', async () => {
  const answer = await client.chat.completions.create(ask({ text: 'one two' }));
  assert.equal(answer.choices[0].message.content, '[simulated] one two');
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.ok(answer.usage.total_tokens > 0);
});

test('a streamed answer, put together by the client itself', async () => {
  const stream = client.chat.completions.stream(ask({ tokens: 20, tokens_per_second: 200 }, { stream_options: { include_usage: true } }));
  const answer = await stream.finalChatCompletion();
  assert.match(answer.choices[0].message.content, /^\[simulated\] (\w+ ){20}$/);
  assert.ok(answer.usage.completion_tokens > 0);
});

test('parallel tool calls, and the text after their results', async () => {
  const simulate = { text: 'done', tool_calls: [{ name: 'now' }, { name: 'echo', arguments: { text: 'a' } }] };
  const tools = ['now', 'echo'].map((name) => ({ type: 'function', function: { name, parameters: { type: 'object' } } }));
  const first = await client.chat.completions.stream(ask(simulate, { tools })).finalChatCompletion();
  const { message, finish_reason } = first.choices[0];
  assert.equal(finish_reason, 'tool_calls');
  assert.deepEqual(message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]), [
    ['now', {}],
    ['echo', { text: 'a' }],
  ]);
  const results = message.tool_calls.map((call) => ({ role: 'tool', tool_call_id: call.id, content: 'x' }));
  const second = await client.chat.completions.create({ ...ask(simulate, { tools }), messages: [...messages, message, ...results] });
  assert.equal(second.choices[0].message.content, '[simulated] done');
});

test('errors are the errors of the dialect', async () => {
  const failing = client.chat.completions.create(ask({ fail: { kind: 'status', status: 429, retry_after_ms: 1 } }));
  await assert.rejects(failing, OpenAI.RateLimitError);
  const wrong = client.chat.completions.create(ask({ tokens: 'many' }));
  await assert.rejects(wrong, OpenAI.BadRequestError);
  const broken = client.chat.completions.stream(ask({ tokens: 9, fail: { kind: 'break', after_tokens: 3 } }));
  await assert.rejects(broken.finalChatCompletion());
});

test('the models are listed', async () => {
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.deepEqual(models, ['simulated']);
});
