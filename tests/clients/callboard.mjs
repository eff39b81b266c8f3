// Starts the binary under test for other people's clients.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const binary = process.env.CALLBOARD_BINARY;
if (!binary) throw new Error('CALLBOARD_BINARY is not set; run scripts/test');

/** A process of the binary, and where it listens. */
export class Process {
  static async start(directory, args = []) {
    const child = spawn(binary, args, { cwd: directory, env: { NO_COLOR: '1' }, stdio: ['ignore', 'pipe', 'pipe'] });
    const started = new Process();
    started.child = child;
    started.printed = '';
    started.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    started.url = await new Promise((resolve, reject) => {
      for (const output of [child.stdout, child.stderr]) {
        createInterface({ input: output }).on('line', (line) => {
          started.printed += `${line}\n`;
          const found = line.match(/http:\/\/[0-9.]+:[0-9]+/);
          if (found) resolve(found[0]);
        });
      }
      child.once('error', reject);
      started.ended.then(() => reject(new Error(`it ended without listening:\n${started.printed}`)));
    });
    return started;
  }

  async end(signal) {
    this.child.kill(signal);
    return this.ended;
  }
}

/** A directory for servers; `port` 0 is any free one. */
export class Site {
  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'callboard-client-'));
  }

  start(port = 0) {
    writeFileSync(join(this.directory, 'config.toml'), `[server]\nbind = "127.0.0.1:${port}"\n`);
    return Process.start(this.directory);
  }

  remove() {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export async function startRun(url, body) {
  const response = await fetch(`${url}/api/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (response.status !== 201) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
}
