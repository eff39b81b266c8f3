// npm `eventsource`, which reconnects by itself with Last-Event-ID, as browsers do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import { Site, startRun } from './callboard.mjs';

const KINDS = [
  'run.created', 'run.queued', 'run.started', 'run.recovered', 'item.added', 'text.delta', 'item.completed',
  'item.incomplete', 'model.completed', 'model.retrying', 'run.completed', 'run.failed', 'run.cancelled',
];

/** Follows a run until the client gives up by itself, which it does on 204. */
function follow(url, onEvent) {
  const source = new EventSource(url);
  const events = [];
  const closed = new Promise((resolve) => {
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) resolve(events);
    });
  });
  for (const kind of KINDS) {
    source.addEventListener(kind, (message) => {
      const event = { id: Number(message.lastEventId), kind, data: JSON.parse(message.data) };
      events.push(event);
      onEvent?.(event);
    });
  }
  return closed;
}

function checkWhole(events, ending) {
  assert.deepEqual(events.map((event) => event.id), events.map((_, index) => index));
  for (const event of events) assert.equal(event.data.type, event.kind);
  assert.equal(events.at(-1).kind, ending);
}

test('it reads a run to its end and then stays away', { timeout: 60_000 }, async () => {
  const site = new Site();
  const server = await site.start();
  const run = await startRun(server.url, { input: 'Hello', model_options: { simulate: { tokens: 5 } } });
  const events = await follow(server.url + run.links.events);
  checkWhole(events, 'run.completed');
  assert.deepEqual((await server.end('SIGTERM')), { code: 0, signal: null });
  site.remove();
});

test('it carries on through kill -9 of the server without a gap', { timeout: 120_000 }, async () => {
  const site = new Site();
  let server = await site.start();
  const port = new URL(server.url).port;
  const simulate = { tokens: 40, tokens_per_second: 20 };
  const run = await startRun(server.url, { input: 'Hello', model_options: { simulate } });
  let restarted;
  const events = await follow(server.url + run.links.events, (event) => {
    if (restarted || event.id < 10) return;
    restarted = server.end('SIGKILL').then(() => site.start(port));
  });
  server = await restarted;
  checkWhole(events, 'run.completed');
  assert.ok(events.some((event) => event.kind === 'run.recovered'));
  assert.deepEqual((await server.end('SIGTERM')), { code: 0, signal: null });
  site.remove();
});
