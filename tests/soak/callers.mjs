// Callers that ask without pause, leave when they please, and judge every byte that they get.
import assert from 'node:assert/strict';
import https from 'node:https';
import { FROM } from '../function/lib.mjs';

// Who asks where, and whose backends may answer: what the charter of `portolan init` says,
// worked out by hand.
const TENANTS = [
  { tenant: 'acme/de', node: 'central', from: 'DE', lawful: ['de-1', 'de-2', 'ie-1'] },
  { tenant: 'acme/fr', node: 'west', from: 'FR', lawful: ['de-1', 'de-2', 'ie-1'] },
  { tenant: 'clinic', node: 'central', from: 'DE', lawful: ['de-1'] },
  { tenant: 'clinic', node: 'west', from: 'DE', lawful: ['de-1'] },
];
// What may be said of a model server that fails, or of the node while it can't serve.
const FAILURES = { 429: ['rate_limited'], 502: ['upstream_failed'],
  503: ['no_legal_capacity', 'ledger_unavailable'], 504: ['upstream_timeout'] };
const DEADLINE_MS = 60_000;

export class Callers {
  constructor(mesh, random, count) {
    Object.assign(this, { mesh, random, count });
    this.counts = { whole: 0, unary: 0, cut: 0, told: 0, failed: 0, aborted: 0, severed: 0 };
    this.serial = 0;
    this.going = false;
    this.fault = null;
  }

  async start() {
    this.going = true;
    this.agents = new Map([...this.mesh.nodes.values()].map((node) => [node,
      new https.Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 64 })]));
    this.who = await Promise.all(TENANTS.map(async (one) => ({ ...one,
      node: this.mesh[one.node], token: await this.mesh.token(one.tenant) })));
    this.loops = Array.from({ length: this.count }, () => this.#loop());
  }

  // Every request that is under way ends by itself; the first fault that a caller found is thrown.
  async stop() {
    this.going = false;
    await Promise.all(this.loops);
    for (const agent of this.agents.values()) {
      agent.destroy();
    }
    if (this.fault !== null) {
      throw this.fault;
    }
  }

  async #loop() {
    while (this.going) {
      try {
        await this.#request(this.random.pick(this.who));
      } catch (error) {
        this.fault ??= error;
        this.going = false;
      }
    }
  }

  async #request(who) {
    this.serial += 1;
    const words = [`q${this.serial}`,
      ...Array.from({ length: this.random.whole(2, 24) }, (_, i) => `w${i}`)];
    const stream = this.random.chance(0.85);
    const leaving = new AbortController();
    const timer = this.random.chance(0.25)
      ? setTimeout(() => leaving.abort(), this.random.whole(0, 4000)) : undefined;
    try {
      const answer = await this.#ask(who, words, stream, leaving.signal);
      this.counts[this.#judge(who, words, stream, answer)] += 1;
    } catch (error) {
      if (leaving.signal.aborted) {
        this.counts.aborted += 1;
      } else if (['ECONNRESET', 'EPIPE', 'ECONNREFUSED'].includes(error.code)) {
        this.counts.severed += 1; // a kept connection that the node ended in that moment
      } else {
        throw error;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  // {status, headers, text, cut}: cut where the connection ended before the answer did.
  #ask({ node, token, from }, words, stream, signal) {
    const body = JSON.stringify({ model: 'small', stream,
      messages: [{ role: 'user', content: words.join(' ') }] });
    return new Promise((resolve, reject) => {
      const request = https.request({
        host: node.host, port: node.port, servername: node.servername, ca: node.ca,
        method: 'POST', path: '/v1/chat/completions', signal,
        agent: this.random.chance(0.2) ? false : this.agents.get(node),
        headers: { host: node.authority, authorization: `Bearer ${token}`,
          'x-forwarded-for': FROM[from], 'content-type': 'application/json',
          'content-length': Buffer.byteLength(body) },
      }, (answer) => {
        const chunks = [];
        const end = (cut) => resolve({ status: answer.statusCode, headers: answer.headers,
          text: Buffer.concat(chunks).toString('utf8'), cut });
        answer.on('data', (chunk) => chunks.push(chunk));
        answer.once('end', () => end(false));
        answer.once('error', (error) => (signal.aborted ? reject(error) : end(true)));
      });
      request.setTimeout(DEADLINE_MS, () => request.destroy(new Error('no answer in a minute')));
      request.once('error', reject);
      request.end(body);
    });
  }

  #judge(who, words, stream, answer) {
    const what = `${who.tenant} at ${who.node.name}: ${answer.status} ${answer.text.slice(0, 300)}`;
    if (answer.status !== 200) {
      const { code } = JSON.parse(answer.text).error;
      assert.ok(FAILURES[answer.status]?.includes(code), what);
      return 'failed';
    }
    this.#judgePlace(who, answer, what);
    const expected = ['echo:', ...words].join(' ');
    if (!stream) {
      if (answer.cut) {
        return 'cut';
      }
      assert.equal(JSON.parse(answer.text).choices[0].message.content, expected, what);
      return 'unary';
    }
    return this.#judgeStream(expected, answer, what);
  }

  // Every attested place is lawful for the tenant.
  #judgePlace(who, answer, what) {
    const field = answer.headers['residency-attestation'];
    assert.equal(typeof field, 'string', what);
    const last = field.split(', ').at(-1).split(';')[0];
    const { target, tenant } = JSON.parse(Buffer.from(last.split('.')[1], 'base64url'));
    assert.equal(tenant, who.tenant);
    assert.ok(who.lawful.includes(target.backend), `${what}: ${JSON.stringify(target)}`);
  }

  // One answer of one model server: whole, or the beginning of one; told so where it may be.
  #judgeStream(expected, answer, what) {
    const blocks = answer.text.split('\n\n');
    const rest = blocks.pop();
    const ids = new Set();
    let content = '';
    let done = false;
    let error = null;
    for (const block of blocks) {
      assert.ok(!done && error === null, `nothing stands behind the end: ${what}`);
      if (block.startsWith(':')) {
        continue;
      }
      assert.ok(block.startsWith('data: '), what);
      const data = block.slice(6);
      done = data === '[DONE]';
      const event = done ? {} : JSON.parse(data);
      error = event.error ?? null;
      if (event.id !== undefined) {
        ids.add(event.id);
      }
      content += event.choices?.[0]?.delta?.content ?? '';
    }
    assert.ok(ids.size <= 1, `events of one answer only: ${what}`);
    assert.ok(expected.startsWith(content), `a prefix of what was asked for: ${what}`);
    if (done) {
      assert.equal(content, expected, what);
      assert.equal(rest, '', `nothing stands behind the end: ${what}`);
      // The model server may be gone between [DONE] and the end of its framing.
      return answer.cut ? 'cut' : 'whole';
    }
    assert.ok(answer.cut, `a stream that ends early is never ended in order: ${what}`);
    return error === null ? 'cut' : 'told';
  }
}
