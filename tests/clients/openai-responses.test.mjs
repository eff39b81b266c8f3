// npm `openai` against `callboard simulate-llm`, in the dialect of `/v1/responses`.

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
  client = new OpenAI({ baseURL: `${provider.url}/v1`, apiKey: 'sk-unused', maxRetries: 0 });
});

after(async () => {
  await provider.end('SIGTERM');
  site.remove();
});

const ask = (simulate, more = {}) => ({ model: 'simulated', input: 'Hello', reasoning: { summary: 'auto' }, simulate, ...more });

test('a whole answer', async () => {
  const answer = await client.responses.create(ask({ text: 'one two', cached_input_tokens: 1 }));
  assert.equal(answer.output_text, '[simulated] one two');
  assert.equal(answer.status, 'completed');
  assert.deepEqual(answer.usage.input_tokens_details, { cached_tokens: 1 });
  assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + 2);
});

test('a streamed answer, event by event', async () => {
  const stream = await client.responses.create(ask({ tokens: 3, reasoning_tokens: 2 }, { stream: true }));
  const events = [];
  for await (const event of stream) events.push(event);
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, index) => index));
  const kinds = events.map((event) => event.type.replace('response.', ''));
  assert.deepEqual(kinds.filter((kind, index) => kind !== kinds[index - 1]), [
    'created', 'in_progress', 'output_item.added', 'reasoning_summary_part.added', 'reasoning_summary_text.delta',
    'reasoning_summary_text.done', 'reasoning_summary_part.done', 'output_item.done', 'output_item.added',
    'content_part.added', 'output_text.delta', 'output_text.done', 'content_part.done', 'output_item.done', 'completed',
  ]);
  const { response } = events.at(-1);
  assert.deepEqual(response.output.map((item) => item.type), ['reasoning', 'message']);
  assert.equal(response.usage.output_tokens_details.reasoning_tokens, 2);
});

test('what is streamed, put together by the client itself, is what is said in one piece', async () => {
  const asked = ask({ seed: 5, tokens: 9, reasoning_tokens: 2 });
  const streamed = await client.responses.stream(asked).finalResponse();
  const whole = await client.responses.create(asked);
  const texts = (response) => response.output.map((item) => item.content?.[0].text ?? item.summary[0].text);
  assert.deepEqual(texts(whole), texts(streamed));
  assert.deepEqual(whole.usage, streamed.usage);
});

test('parallel function calls and the thought before them are sent back', async () => {
  const simulate = { text: 'done', reasoning_tokens: 2, tool_calls: [{ name: 'now' }, { name: 'echo', arguments: { text: 'a' } }] };
  const tools = ['now', 'echo'].map((name) => ({ type: 'function', name, parameters: { type: 'object' }, strict: false }));
  const more = { tools, store: false, include: ['reasoning.encrypted_content'] };
  const first = await client.responses.stream(ask(simulate, more)).finalResponse();
  const calls = first.output.filter((item) => item.type === 'function_call');
  assert.deepEqual(calls.map((call) => [call.name, JSON.parse(call.arguments)]), [['now', {}], ['echo', { text: 'a' }]]);
  assert.ok(first.output[0].encrypted_content.length > 20);
  const goOn = (items, results) => client.responses.create(ask(simulate, {
    ...more,
    input: [{ role: 'user', content: 'Hello' }, ...items, ...results],
  }));
  const results = calls.map(({ call_id }) => ({ type: 'function_call_output', call_id, output: 'x' }));
  const second = await goOn(first.output, results);
  assert.equal(second.output_text, '[simulated] done');
  await assert.rejects(goOn(first.output, results.slice(1)), OpenAI.BadRequestError);
  const [thought, ...others] = first.output;
  await assert.rejects(goOn([{ ...thought, encrypted_content: 'mine' }, ...others], results), OpenAI.BadRequestError);
});

test('thoughts are neither told nor encrypted for those who do not ask', async () => {
  const asked = ask({ reasoning_tokens: 2 }, { reasoning: {} });
  for (const answer of [await client.responses.create(asked), await client.responses.stream(asked).finalResponse()]) {
    const [thought] = answer.output;
    assert.deepEqual([thought.type, thought.summary, thought.encrypted_content], ['reasoning', [], undefined]);
  }
});

test('an answer that is cut is incomplete', async () => {
  const answer = await client.responses.create(ask({ tokens: 50 }, { max_output_tokens: 5 }));
  assert.deepEqual([answer.status, answer.incomplete_details], ['incomplete', { reason: 'max_output_tokens' }]);
});

test('errors are the errors of the dialect', async () => {
  const failing = (status) => client.responses.create(ask({ fail: { kind: 'status', status } }));
  await assert.rejects(failing(429), OpenAI.RateLimitError);
  await assert.rejects(failing(503), OpenAI.InternalServerError);
  await assert.rejects(client.responses.create(ask({}, { previous_response_id: 'resp_1' })), OpenAI.BadRequestError);
  const broken = client.responses.stream(ask({ tokens: 9, fail: { kind: 'break', after_tokens: 3 } }));
  await assert.rejects(broken.finalResponse());
});

test('a response that fails in the middle says so', async () => {
  const fail = { kind: 'error_event', after_tokens: 3 };
  const stream = await client.responses.create(ask({ tokens: 9, fail }, { stream: true }));
  let last;
  for await (const event of stream) last = event;
  assert.deepEqual([last.type, last.response.status, last.response.error.code], ['response.failed', 'failed', 'server_error']);
});
