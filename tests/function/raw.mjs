// The client's side in raw bytes: requests written out, and a strict reader of what came back.
import assert from 'node:assert/strict';
import { chatBody, FROM } from './client.mjs';
import { Held } from './held.mjs';
import { until } from './process.mjs';

export const CHAT = JSON.stringify(chatBody());

// A whole request; `fields` stand behind those that every request of a caller has.
export const requestOf = (node, token, { line = 'POST /v1/chat/completions HTTP/1.1', fields = [],
  host = `Host: ${node.authority}`, from = 'DE', body = CHAT, type = 'application/json',
  framing = `Content-Length: ${Buffer.byteLength(body)}` } = {}) => [line, host,
  ...(token === null ? [] : [`Authorization: Bearer ${token}`]),
  ...(from === null ? [] : [`X-Forwarded-For: ${FROM[from]}`]),
  `Content-Type: ${type}`, framing, ...fields].filter((one) => one !== null)
  .join('\r\n') + `\r\n\r\n${body}`;

function bodyOf(fields, rest, status) {
  const of = (name) => fields.get(name) ?? [];
  assert.ok(of('content-length').length + of('transfer-encoding').length <= 1, 'one framing');
  if (status < 200 || status === 204 || status === 304) {
    assert.deepEqual([...of('content-length'), ...of('transfer-encoding')], [],
      `a ${status} has no framing`);
    return { body: '', rest, whole: true };
  }
  if (of('transfer-encoding').length === 0) {
    assert.match(of('content-length')[0] ?? '', /^\d+$/, 'a length');
    const length = Number(of('content-length')[0]);
    return { body: rest.slice(0, length), rest: rest.slice(length), whole: rest.length >= length };
  }
  assert.equal(of('transfer-encoding')[0], 'chunked');
  for (let body = ''; ;) {
    const size = /^([0-9a-f]{1,16})\r\n/.exec(rest);
    const length = size === null ? 0 : Number.parseInt(size[1], 16);
    const end = size === null ? 0 : size[0].length + length;
    if (size === null || rest.length < end + 2) {
      return { body: body + rest.slice(size?.[0].length ?? rest.length), rest: '', whole: false };
    }
    assert.equal(rest.slice(end, end + 2), '\r\n', 'the end of a chunk');
    body += rest.slice(size[0].length, end);
    rest = rest.slice(end + 2);
    if (length === 0) {
      return { body, rest, whole: true };
    }
  }
}

// The answers in raw bytes: [{status, fields, body, whole, close}]. Only the last one may be cut.
export function answersIn(text) {
  const answers = [];
  for (let rest = text; rest !== '';) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) {
      return [...answers, { status: 0, fields: new Map(), body: '', whole: false }];
    }
    const [line, ...lines] = rest.slice(0, end).split('\r\n');
    const status = /^HTTP\/1\.1 (\d{3}) [\x20-\x7e]*$/.exec(line);
    assert.ok(status !== null, `the head of an answer: ${JSON.stringify(rest.slice(0, 200))}`);
    const fields = new Map();
    for (const one of lines) {
      const [, name, value] = /^([A-Za-z0-9-]+): ([\x20-\x7e]*)$/.exec(one) ?? [];
      assert.ok(name !== undefined, `a field: ${JSON.stringify(one)}`);
      fields.set(name.toLowerCase(), [...(fields.get(name.toLowerCase()) ?? []), value]);
    }
    const read = bodyOf(fields, rest.slice(end + 4), Number(status[1]));
    answers.push({ status: Number(status[1]), fields, body: read.body, whole: read.whole,
      close: fields.get('connection')?.[0] === 'close',
      code: /"code":"(\w+)"/.exec(read.body)?.[1] });
    rest = read.rest;
  }
  return answers;
}

export const statusesIn = (text) => answersIn(text).map((one) => one.status);

// A connection on which one request follows the other.
export class Talk extends Held {
  static async open(node) {
    const talk = new Talk(node);
    assert.ok(await talk.opened, 'the connection is refused');
    talk.answered = 0;
    return talk;
  }

  get answers() { return answersIn(this.text); }

  // The next answer, once it is whole.
  async ask(bytes) {
    this.write(bytes);
    this.answered += 1;
    await until(`answer ${this.answered}`, () => this.isClosed || this.#has(this.answered));
    const one = this.answers[this.answered - 1];
    assert.ok(one?.whole, `the connection ended: ${this.text}`);
    return one;
  }

  // What is malformed will not get better.
  #has(count) {
    try {
      return this.answers[count - 1]?.whole;
    } catch {
      return true;
    }
  }
}

// What one connection brings until the node ends it.
export async function speak(node, bytes) {
  const held = await Held.open(node);
  held.write(bytes);
  await until('the node ends the connection', () => held.isClosed).finally(() => held.end());
  return held.text;
}
