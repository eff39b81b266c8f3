// The official SDKs meet the limits and troubles of `callboard simulate-llm`, and do what their makers meant them to do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { Process, Site } from './callboard.mjs';

const chat = { model: 'simulated', messages: [{ role: 'user', content: 'Hello' }], max_completion_tokens: 50 };
const message = { model: 'simulated', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 50 };

/** Runs `body` with a provider that was started with these flags. */
async function withProvider(flags, body) {
  const site = new Site();
  const provider = await Process.start(site.directory, ['simulate-llm', '--port', '0', ...flags]);
  const get = async (path) => (await fetch(provider.url + path)).json();
  const post = async (path, value) => {
    const response = await fetch(provider.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(value),
    });
    assert.equal(response.status, 200, await response.text());
  };
  const openai = (apiKey, maxRetries = 0) => new OpenAI({ baseURL: `${provider.url}/v1`, apiKey, maxRetries });
  const anthropic = (apiKey, maxRetries = 0) => new Anthropic({ baseURL: provider.url, apiKey, maxRetries });
  try {
    await body({ get, post, openai, anthropic });
  } finally {
    await provider.end('SIGTERM');
    site.remove();
  }
}

test('the headers of OpenAI', () => withProvider(['--requests-per-minute', '3', '--tokens-per-minute', '1000'], async ({ openai }) => {
  const client = openai('sk-simulated-0001');
  const { response, data } = await client.chat.completions.create(chat).withResponse();
  const said = (field) => response.headers.get(`x-ratelimit-${field}`);
  assert.deepEqual([said('limit-requests'), said('remaining-requests'), said('reset-requests')], ['3', '2', '1m0s']);
  assert.equal(said('limit-tokens'), '1000');
  assert.equal(Number(said('remaining-tokens')), 1000 - data.usage.prompt_tokens - 50);
  await client.chat.completions.create(chat);
  const third = await client.chat.completions.create(chat).withResponse();
  const used = 2 * data.usage.total_tokens + data.usage.prompt_tokens + 50;
  assert.equal(third.response.headers.get('x-ratelimit-remaining-tokens'), String(1000 - used));
  await assert.rejects(client.chat.completions.create(chat), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.equal(error.code, 'rate_limit_exceeded');
    assert.equal(error.type, 'requests');
    const wait = Number(error.headers.get('retry-after-ms'));
    assert.ok(wait > 50_000 && wait <= 60_000, `${wait}`);
    assert.equal(Number(error.headers.get('retry-after')), Math.ceil(wait / 1000));
    return true;
  });
}));

test('the headers of Anthropic', () => withProvider(['--requests-per-minute', '1', '--tokens-per-minute', '1000'], async ({ anthropic }) => {
  const client = anthropic('sk-simulated-0001');
  const before = Date.now();
  const { response, data } = await client.messages.create(message).withResponse();
  const said = (field) => response.headers.get(`anthropic-ratelimit-${field}`);
  assert.deepEqual([said('requests-limit'), said('requests-remaining'), said('tokens-limit')], ['1', '0', '1000']);
  assert.equal(Number(said('tokens-remaining')), 1000 - data.usage.input_tokens - 50);
  for (const what of ['requests', 'tokens']) {
    assert.match(said(`${what}-reset`), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const wait = Date.parse(said(`${what}-reset`)) - before;
    assert.ok(wait >= 60_000 && wait < 65_000, `${wait}`);
  }
  await assert.rejects(client.messages.create(message), (error) => {
    assert.ok(error instanceof Anthropic.RateLimitError);
    assert.equal(error.error.error.type, 'rate_limit_error');
    assert.ok(Number(error.headers.get('retry-after')) > 50);
    return true;
  });
}));

test('the SDKs wait as long as they are told, and no longer', () => withProvider(['--requests-per-minute', '1', '--window-ms', '1500'], async ({ openai, anthropic, get }) => {
  const create = {
    openai: (key) => openai(key, 1).chat.completions.create(chat),
    anthropic: (key) => anthropic(key, 1).messages.create(message),
  };
  await Promise.all(Object.entries(create).map(async ([name, call]) => {
    await call(`sk-simulated-${name}`);
    await call(`sk-simulated-${name}`);
  }));
  const { calls } = await get('/journal');
  for (const key of ['enai', 'opic']) {
    const mine = calls.filter((call) => call.key === key);
    assert.deepEqual(mine.map((call) => [call.status, call.outcome, call.attempt]), [
      [200, 'answered', 1],
      [429, 'rate_limited', 1],
      [200, 'answered', 2],
    ]);
    // One try was enough: it did not come too early.
    assert.ok(mine[2].received_at_us - mine[0].received_at_us >= 1_500_000);
  }
}));

test('calls at the same time are limited, and a call that ended makes room', () => withProvider(['--concurrent-calls', '1'], async ({ openai, get }) => {
  const client = openai('sk-simulated-0001');
  const slow = { ...chat, stream: true, simulate: { tokens: 40, tokens_per_second: 1 } };
  const stream = await client.chat.completions.create(slow);
  await assert.rejects(client.chat.completions.create(chat), OpenAI.RateLimitError);
  stream.controller.abort();
  while ((await get('/stats')).open > 0);
  await client.chat.completions.create(chat);
  await client.chat.completions.create(chat);
  const [key] = (await get('/stats')).keys;
  assert.deepEqual([key.let_in, key.rate_limited, key.in_use.concurrent_calls], [3, 1, 0]);
}));

test('a request that never fits is not tried again', () => withProvider(['--tokens-per-minute', '40'], async ({ openai, get }) => {
  await assert.rejects(openai('sk-simulated-0001', 3).chat.completions.create(chat), OpenAI.RateLimitError);
  assert.equal((await get('/stats')).begun, 1);
}));

test('keys that are not listed, and keys that were killed, are refused', () => withProvider(['--key', 'sk-simulated-0001', '--key', 'sk-simulated-0002'], async ({ openai, anthropic, get, post }) => {
  await assert.rejects(openai('sk-simulated-0003').chat.completions.create(chat), OpenAI.AuthenticationError);
  await assert.rejects(anthropic('sk-simulated-0003').messages.create(message), Anthropic.AuthenticationError);
  await assert.rejects(anthropic('sk-simulated-0003').models.list(), Anthropic.AuthenticationError);
  await openai('sk-simulated-0001').responses.create({ model: 'simulated', input: 'Hello' });
  await post('/admin/keys/0001', { refused: true });
  await assert.rejects(openai('sk-simulated-0001').chat.completions.create(chat), OpenAI.AuthenticationError);
  await anthropic('sk-simulated-0002').messages.create(message);
  await post('/admin/keys/0001', { refused: false, limits: { requests_per_minute: 0 } });
  await assert.rejects(openai('sk-simulated-0001').chat.completions.create(chat), OpenAI.RateLimitError);
  const { keys } = await get('/usage');
  assert.deepEqual(keys.map((key) => [key.key, key.seconds.reduce((sum, second) => sum + second.requests, 0)]), [['0001', 1], ['0002', 1]]);
}));

test('an outage can be switched on and off', () => withProvider([], async ({ openai, anthropic, post, get }) => {
  await post('/admin/troubles', { outages: [{ status: 529 }] });
  await assert.rejects(anthropic('sk-simulated-0001').messages.create(message), (error) => error.status === 529);
  await post('/admin/troubles', { outages: [{}] });
  await assert.rejects(openai('sk-simulated-0001').chat.completions.create(chat), OpenAI.APIConnectionError);
  await post('/admin/troubles', {});
  await openai('sk-simulated-0001').chat.completions.create(chat);
  const { calls } = await get('/journal?from=1');
  assert.deepEqual(calls.map((call) => [call.dialect, call.status, call.outcome]), [['chat', null, 'outage'], ['chat', 200, 'answered']]);
}));

test('the same seed gives the same troubles', async () => {
  const flags = ['--trouble-seed', '7', '--break-share', '0.3', '--outage-share', '0.3', '--outage-status', '503'];
  const outcomes = [];
  for (let round = 0; round < 2; round += 1) {
    await withProvider(flags, async ({ openai, get }) => {
      for (let call = 0; call < 20; call += 1) await openai('sk-simulated-0001').chat.completions.create(chat).catch(() => {});
      outcomes.push((await get('/journal')).calls.map((call) => [call.outcome, call.output_tokens]));
    });
  }
  assert.deepEqual(outcomes[0], outcomes[1]);
  assert.deepEqual([...new Set(outcomes[0].map(([outcome]) => outcome))].sort(), ['answered', 'broke_off', 'outage']);
});
