// npm `@anthropic-ai/sdk` against `callboard simulate-llm`: what our own adapter is tested with must be the real dialect.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { Process, Site } from './callboard.mjs';

let site;
let provider;
let client;

before(async () => {
  site = new Site();
  provider = await Process.start(site.directory, ['simulate-llm', '--port', '0']);
  client = new Anthropic({ baseURL: provider.url, apiKey: 'sk-unused', maxRetries: 0 });
});

after(async () => {
  await provider.end('SIGTERM');
  site.remove();
});

const messages = [{ role: 'user', content: 'Hello' }];
const ask = (simulate, more = {}) => ({ model: 'simulated', max_tokens: 2048, messages, simulate, ...more });
const tools = ['now', 'echo'].map((name) => ({ name, description: name, input_schema: { type: 'object' } }));

test('a whole answer', async () => {
  const answer = await client.messages.create(ask({ text: 'one two', cached_input_tokens: 2 }));
  assert.deepEqual(answer.content, [{ type: 'text', text: '[simulated] one two' }]);
  assert.equal(answer.stop_reason, 'end_turn');
  assert.equal(answer.usage.cache_read_input_tokens, 2);
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens === 2);
  assert.match(answer._request_id, /^req_/);
});

test('a streamed answer, put together by the client itself', async () => {
  const stream = client.messages.stream(ask({ tokens: 20, tokens_per_second: 200, reasoning_tokens: 3 }));
  const kinds = [];
  stream.on('streamEvent', (event) => kinds.push(event.type));
  const answer = await stream.finalMessage();
  const [thinking, text] = answer.content;
  assert.match(thinking.thinking, /^(\w+ ){3}$/);
  assert.match(text.text, /^\[simulated\] (\w+ ){20}$/);
  assert.equal(answer.usage.output_tokens, 23);
  const order = kinds.filter((kind, index) => kind !== kinds[index - 1]);
  const block = ['content_block_start', 'content_block_delta', 'content_block_stop'];
  assert.deepEqual(order, ['message_start', ...block, ...block, 'message_delta', 'message_stop']);
});

test('what is streamed is what is said in one piece', async () => {
  const asked = ask({ seed: 5, tokens: 9, reasoning_tokens: 2 });
  const streamed = await client.messages.stream(asked).finalMessage();
  const whole = await client.messages.create(asked);
  assert.deepEqual(whole.content, streamed.content);
  assert.deepEqual(whole.usage, streamed.usage);
});

test('a thought is sent back with its signature, and a changed one is refused', async () => {
  const asked = ask({ reasoning_tokens: 4, text: 'so' }, { thinking: { type: 'enabled', budget_tokens: 1024 } });
  const { content } = await client.messages.create(asked);
  const goOn = (content) => client.messages.create({
    ...asked,
    messages: [...messages, { role: 'assistant', content }, { role: 'user', content: 'And?' }],
  });
  assert.equal((await goOn(content)).stop_reason, 'end_turn');
  const changed = [{ ...content[0], thinking: 'something else' }, content[1]];
  await assert.rejects(goOn(changed), (error) => {
    assert.ok(error instanceof Anthropic.BadRequestError);
    assert.match(error.message, /messages\.1\.content\.0: Invalid `signature`/);
    return true;
  });
});

test('parallel tool calls, and the text after their results', async () => {
  const simulate = { text: 'done', tool_calls: [{ name: 'now' }, { name: 'echo', arguments: { text: 'a' } }] };
  const first = await client.messages.stream(ask(simulate, { tools })).finalMessage();
  assert.equal(first.stop_reason, 'tool_use');
  assert.deepEqual(first.content.map((block) => [block.type, block.name, block.input]), [
    ['tool_use', 'now', {}],
    ['tool_use', 'echo', { text: 'a' }],
  ]);
  const results = first.content.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: 'x' }));
  const goOn = (content) => client.messages.create(ask(simulate, {
    tools,
    messages: [...messages, { role: 'assistant', content: first.content }, { role: 'user', content }],
  }));
  assert.equal((await goOn(results)).content[0].text, '[simulated] done');
  await assert.rejects(goOn(results.slice(1)), Anthropic.BadRequestError);
});

test('an answer that is cut says so', async () => {
  const answer = await client.messages.create(ask({ tokens: 50 }, { max_tokens: 5 }));
  assert.deepEqual([answer.stop_reason, answer.usage.output_tokens], ['max_tokens', 5]);
});

test('errors are the errors of the dialect', async () => {
  const failing = (status) => client.messages.create(ask({ fail: { kind: 'status', status } }));
  for (const [status, type, kind] of [
    [400, 'invalid_request_error', Anthropic.BadRequestError],
    [429, 'rate_limit_error', Anthropic.RateLimitError],
    [503, 'api_error', Anthropic.InternalServerError],
    [529, 'overloaded_error', Anthropic.InternalServerError],
  ]) {
    await assert.rejects(failing(status), (error) => {
      assert.ok(error instanceof kind, `${status}: ${error}`);
      assert.equal(error.status, status);
      assert.equal(error.error.error.type, type);
      assert.match(error.requestID, /^req_/);
      return true;
    });
  }
  await assert.rejects(client.messages.create(ask({ tokens: 'many' })), Anthropic.BadRequestError);
  await assert.rejects(client.messages.create(ask({ fail: { kind: 'connect' } })), Anthropic.APIConnectionError);
});

test('a stream that goes wrong is noticed', async () => {
  const stream = (kind) => client.messages.stream(ask({ tokens: 9, fail: { kind, after_tokens: 3, status: 529 } }));
  await assert.rejects(stream('break').finalMessage());
  await assert.rejects(stream('garbage').finalMessage());
  await assert.rejects(stream('error_event').finalMessage(), (error) => {
    assert.ok(error instanceof Anthropic.APIError);
    assert.match(JSON.stringify(error.error), /overloaded_error/);
    return true;
  });
});

test('the models are listed', async () => {
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.deepEqual(models, ['simulated']);
});
