// Callers of a node: the real OpenAI client, single requests, and raw bytes; all over real TLS
// that trusts the mesh's CA and nothing else.
import https from 'node:https';
import { Readable } from 'node:stream';
import tls from 'node:tls';
import OpenAI from 'openai';
import { until } from './process.mjs';

// Addresses that the country database knows. A node believes them from its trusted proxy only.
export const FROM = {
  DE: '194.25.0.125',
  FR: '80.10.246.1',
  IE: '134.226.1.1',
  CH: '130.59.1.1',
  US: '8.8.8.8',
  none: '192.0.2.1', // documentation: in no database
  private: '10.1.2.3',
};

export const chatBody = (more = {}) => ({
  model: 'small', messages: [{ role: 'user', content: 'one two three' }], ...more,
});

const headersOf = ({ token, from, headers = {} }) => ({
  ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  ...(from === undefined ? {} : { 'x-forwarded-for': FROM[from] ?? from }),
  ...headers,
});

// One request on a connection of its own: {status, headers, body}. A caller is {token, from,
// headers, cert, key}: all may be absent.
export function ask(node, caller = {}, { method, path = '/v1/chat/completions', body, agent = false,
  signal, onHead } = {}) {
  const content = body === undefined ? undefined
    : (typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const request = https.request({
      host: node.host, port: node.port, path, agent, ca: node.ca, cert: caller.cert,
      key: caller.key, servername: node.servername, signal,
      method: method ?? (content === undefined ? 'GET' : 'POST'),
      headers: {
        host: node.authority,
        ...(content === undefined ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) }),
        ...headersOf(caller),
      },
    }, (answer) => {
      const chunks = [];
      onHead?.(answer);
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.once('error', reject);
      answer.once('end', () => {
        const bytes = Buffer.concat(chunks);
        resolve({
          status: answer.statusCode, headers: answer.headers, bytes, text: bytes.toString('utf8'),
          json: () => JSON.parse(bytes.toString('utf8')),
        });
      });
    });
    request.once('error', reject);
    request.end(content);
  });
}

export const chat = (node, caller, more = {}) => ask(node, caller, { body: chatBody(more) });

// A stream that has begun: {id, seen(), end}; end is its answer, or {broken} where it had no end.
export async function beginStream(node, caller) {
  let seen = '';
  let id;
  const end = ask(node, caller, { body: chatBody({ stream: true }), onHead: (answer) => {
    id = answer.headers['x-request-id'];
    answer.on('data', (chunk) => { seen += chunk; });
  } }).catch((error) => ({ broken: error.code ?? error.message }));
  await until('the stream has begun', () => seen.includes('data: '));
  return { id, seen: () => seen, end };
}

// The code of the error event that a stream ended with.
export const endedWith = ({ seen }) =>
  /\ndata: \{"error":\{.*"code":"(\w+)"\}\}\n\n$/.exec(seen())?.[1];

// What fetch() makes of a body: its bytes, and the type that it gives a form.
async function bytesOf(body) {
  if (body === undefined || body === null) {
    return { bytes: undefined };
  }
  const made = new Response(body);
  const type = body instanceof FormData ? { 'content-type': made.headers.get('content-type') } : {};
  return { bytes: Buffer.from(await made.arrayBuffer()), type };
}

// fetch() for the OpenAI client, on node:https: the built-in one can't be given a CA.
function fetchVia(node, caller, onAnswer) {
  return async (url, { method = 'GET', headers, body, signal } = {}) => {
    const { bytes, type } = await bytesOf(body);
    return new Promise((resolve, reject) => {
      const target = new URL(url);
      const request = https.request({
        host: node.host, port: node.port, path: target.pathname + target.search, method, signal,
        agent: false, ca: node.ca, cert: caller.cert, key: caller.key, servername: node.servername,
        headers: {
          ...Object.fromEntries(new Headers(headers)), host: node.authority, ...type,
          ...headersOf({ ...caller, token: undefined }),
          ...(bytes === undefined ? {} : { 'content-length': bytes.length }),
        },
      }, (answer) => {
        onAnswer?.(answer);
        resolve(new Response(Readable.toWeb(answer), {
          status: answer.statusCode, headers: Object.entries(answer.headers).flatMap(
            ([name, value]) => [value].flat().map((one) => [name, one])),
        }));
      });
      request.once('error', reject);
      request.end(bytes);
    });
  };
}

// The real OpenAI client. onAnswer sees each answer's head.
export const openai = (node, caller, onAnswer) => new OpenAI({
  baseURL: `https://${node.authority}/v1`, apiKey: caller.token ?? 'none', maxRetries: 0,
  fetch: fetchVia(node, caller, onAnswer),
});

// Raw bytes on a TLS connection: what came back until the other side closed it.
export function rawAsk(node, bytes, { idleMs = 10_000, end = false } = {}) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      host: node.host, port: node.port, ca: node.ca, servername: node.servername,
    }, () => {
      for (const piece of [bytes].flat()) {
        socket.write(Buffer.isBuffer(piece) ? piece : Buffer.from(piece, 'latin1'));
      }
      if (end) {
        socket.end();
      }
    });
    let answer = '';
    socket.setTimeout(idleMs, () => socket.destroy(new Error('the node did not close')));
    socket.on('data', (chunk) => { answer += chunk.toString('latin1'); });
    socket.once('error', (error) => (answer === '' || error.code !== 'ECONNRESET'
      ? reject(error) : resolve(answer)));
    socket.once('close', () => resolve(answer));
  });
}

// The status of each answer in raw bytes.
export const statusesOf = (answer) =>
  [...answer.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map((match) => Number(match[1]));
