// What every function test uses: a mesh for a file of tests, and its parts by one import.
// A file's mesh is ended and its folder removed when the file is done; where a test failed, the
// folder (logs, configs, ledgers) stays, and its name is printed.
import { after, before, test } from 'node:test';
import { Mesh } from './mesh.mjs';

export { ask, beginStream, chat, chatBody, endedWith, FROM, openai, rawAsk, statusesOf }
  from './client.mjs';
export * from './evidence.mjs';
export { BINARY } from './mesh.mjs';
export { exists, ROOT, run, until } from './process.mjs';

export const LONG = process.env.PORTOLAN_LONG === '1';
const TEST_TIMEOUT_MS = 60_000;

// {mesh, scene}: mesh.current is there once the first test runs; scene() is test() on it.
export function useMesh(options = {}) {
  const holder = { current: null, failed: false };

  before(async () => {
    try {
      holder.current = await Mesh.create(options);
    } catch (error) {
      holder.failed = true;
      throw error;
    }
  }, { timeout: TEST_TIMEOUT_MS });
  after(async () => {
    await holder.current?.end({ keep: holder.failed });
  }, { timeout: TEST_TIMEOUT_MS });

  const scene = (name, body, { timeout = TEST_TIMEOUT_MS, ...more } = {}) =>
    test(name, { timeout, ...more }, async (t) => {
      try {
        await body(holder.current, t);
      } catch (error) {
        holder.failed = true;
        throw error;
      }
    });
  return scene;
}
