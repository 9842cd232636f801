// Tables of what must be refused, the same from whoever it comes: clients and peers, backends and
// peers.
import { CHAT } from './raw.mjs';
import { answer, BODY } from './raw-backend.mjs';

// ---- requests -------------------------------------------------------------------------

// [name, what differs from a good request (raw.mjs), status]
export const field = (text) => ({ fields: [text] });
export const chunked = (body, more = {}) => ({ framing: 'Transfer-Encoding: chunked', body, ...more });
const CHAT_CHUNK = `${CHAT.length.toString(16)}\r\n${CHAT}\r\n`;
export const line = (text) => ({ line: text });
export const path = (text) => line(`POST ${text} HTTP/1.1`);
export const without = (text) => ({ line: text, framing: null, body: '' });
export const requests = [
  // ---- lines and fields ----
  ['a bare CR in a value', field('X-A: a\rX-B: b'), 400],
  ['a bare CR before a field', field('\rX-A: a'), 400],
  ['a bare LF', field('X-A: a\nX-B: b'), 400],
  ['a bare LF before an empty line', field('X-A: a\n\r\n'), 400],
  ['a NUL in a value', field('X-A: a\0b'), 400],
  ['a NUL in a name', field('X\0A: a'), 400],
  ['a control byte in a value', field('X-A: a\x1fb'), 400],
  ['DEL in a value', field('X-A: a\x7fb'), 400],
  ['a name with _', field('X_A: a'), 400],
  ['Content_Length', field('Content_Length: 0'), 400],
  ['an empty name', field(': a'), 400],
  ['a line without a colon', field('X-A'), 400],
  ['a space before the colon', field('X-A : a'), 400],
  ['a tab before the colon', field('X-A\t: a'), 400],
  ['a folded line', field('X-A: a\r\n b'), 400],
  ['a line folded with a tab', field('X-A: a\r\n\tb'), 400],
  ['101 fields', { fields: Array.from({ length: 96 }, (_, i) => `X-${i}: a`) }, 431],
  ['33 KiB of fields', { fields: Array.from({ length: 3 }, (_, i) => `X-${i}: ${'a'.repeat(11_264)}`) },
    431],
  ['a value of 16 KiB and a byte', field(`X-A: ${'a'.repeat(16 * 1024 + 1)}`), 431],
  // ---- framing ----
  ['Content-Length and Transfer-Encoding', chunked(`${CHAT_CHUNK}0\r\n\r\n`, field('Content-Length: 4')), 400],
  ['Transfer-Encoding and Content-Length', { fields: ['Transfer-Encoding: chunked'] }, 400],
  ['two equal Content-Lengths', field(`Content-Length: ${CHAT.length}`), 400],
  ['two different Content-Lengths', field('Content-Length: 0'), 400],
  ['a Content-Length of +5', { framing: 'Content-Length: +5', body: 'abcde' }, 400],
  ['a Content-Length of 0x5', { framing: 'Content-Length: 0x5', body: 'abcde' }, 400],
  ['a Content-Length of 5,5', { framing: 'Content-Length: 5,5', body: 'abcde' }, 400],
  ['an empty Content-Length', { framing: 'Content-Length:', body: '' }, 400],
  ['a Content-Length of 20 digits', { framing: 'Content-Length: 00000000000000000005', body: 'abcde' }, 400],
  ['Transfer-Encoding twice', chunked(`${CHAT_CHUNK}0\r\n\r\n`, field('Transfer-Encoding: chunked')), 400],
  ['Transfer-Encoding on HTTP/1.0',
    chunked(`${CHAT_CHUNK}0\r\n\r\n`, line('POST /v1/chat/completions HTTP/1.0')), 400],
  ...['xchunked', 'chunked, gzip', 'gzip, chunked', 'identity', 'Chunked', 'chunked;a', '\tchunked', '']
    .map((coding) => [`Transfer-Encoding: ${JSON.stringify(coding)}`,
      { framing: `Transfer-Encoding: ${coding}`, body: `${CHAT_CHUNK}0\r\n\r\n` }, 400]),
  ...['GET', 'HEAD', 'DELETE', 'OPTIONS'].flatMap((method) => [
    [`a body on ${method}`, line(`${method} /v1/models HTTP/1.1`), 400],
    [`chunks on ${method}`, chunked(`${CHAT_CHUNK}0\r\n\r\n`, line(`${method} /v1/models HTTP/1.1`)), 400]]),
  // ---- chunks ----
  ...['0x5', '+5', '-5', '', ' 5', '5 ', '00000000000000005', '5;', '5;a=', '5;a="\\""', '5 ;a', '5;a;b']
    .map((size) => [`a chunk size ${JSON.stringify(size)}`,
      chunked(`${size}\r\n{"a":\r\n${CHAT_CHUNK}0\r\n\r\n`), 400]),
  ['a bare LF behind a chunk size', chunked('5\n{"a":\r\n0\r\n\r\n'), 400],
  ['a chunk extension of 257 bytes', chunked(`5;${'a'.repeat(256)}\r\n{"a":\r\n0\r\n\r\n`), 400],
  ['other bytes in place of a chunk\'s CRLF', chunked('5\r\n{"a":XX0\r\n\r\n'), 400],
  ...['Content-Length: 0', 'Transfer-Encoding: chunked', 'Host: a', 'Authorization: a', 'Connection: close',
    'Expect: 100-continue', 'Trailer: a', 'X_A: a', ': a', 'X-A: a\r\n b', 'X-A : a', 'X-A: a\0']
    .map((trailer) => [`a trailer ${JSON.stringify(trailer)}`, chunked(`${CHAT_CHUNK}0\r\n${trailer}\r\n\r\n`), 400]),
  ['33 trailers', chunked(`${CHAT_CHUNK}0\r\n${'X-A: a\r\n'.repeat(33)}\r\n`), 400],
  // ---- Connection, Expect, Upgrade ----
  ...['Host', 'Content-Length', 'Transfer-Encoding', 'Authorization', 'close, authorization',
    'X-Api-Key', 'Residency-Attestation', 'Residency-Commitment-Key', 'residency-x', 'X-Portolan-Class',
    'X-Forwarded-For', 'Forwarded', 'Content-Type', 'Content-Encoding', 'Anthropic-Version', 'Expect'].map((name) => [`a nomination of ${name}`, field(`Connection: ${name}`), 400]),
  ['a nomination that is no token', field('Connection: "close"'), 400],
  ['101 nominations', field(`Connection: ${'a, '.repeat(101)}`), 400],
  ['an unknown expectation', field('Expect: 200-ok'), 417],
  ['two expectations', field('Expect: 100-continue, 100-continue'), 417],
  ['an expectation with a parameter', field('Expect: 100-continue;a'), 417],
  // ---- Host and target ----
  ['no Host', { host: null }, 400],
  ['no Host on HTTP/1.0', { line: 'POST /v1/chat/completions HTTP/1.0', host: null }, 400],
  ['two equal Hosts', field('Host: localhost'), 400],
  ['two different Hosts', field('Host: other.example'), 400],
  ['an empty Host', { host: 'Host:' }, 400],
  ['a Host with a path', { host: 'Host: localhost/a' }, 400],
  ['a Host with a user', { host: 'Host: a@localhost' }, 400],
  ['an absolute form that is not the Host', path('https://other.example/v1/chat/completions'), 400],
  ['an absolute form with a user', path('https://a@localhost/v1/chat/completions'), 400],
  ['an absolute form of another scheme', path('ftp://localhost/v1/chat/completions'), 400],
  ['a path with %00 and no body', without('GET /v1/models%00 HTTP/1.1'), 400],
  ['a path with %2f and no body', without('GET /v1%2fmodels HTTP/1.1'), 400],
  ...['/v1/chat/completions%00', '/v1%2fchat/completions', '/v1%2Fchat/completions',
    '/v1\\chat\\completions', '/v1%5cchat/completions', '/v1%5Cchat/completions',
    '/v1/chat/%', '/v1/chat/%4', '/v1/chat/%zz', '/a/..;/v1/chat/completions', '/v1/chat/completions#a',
    '*', 'v1/chat/completions', '/v1/chat/compl\xe9tions', '/v1/chat/<a>']
    .map((target) => [`the target ${JSON.stringify(target)}`, path(target), 400]),
  ['a target of 8 KiB', path(`/${'a'.repeat(8 * 1024)}`), 414],
  ['two spaces in the request line', line('POST  /v1/chat/completions HTTP/1.1'), 400],
  ['a tab in the request line', line('POST\t/v1/chat/completions HTTP/1.1'), 400],
  ['a space behind the version', line('POST /v1/chat/completions HTTP/1.1 '), 400],
  ['no version', line('POST /v1/chat/completions'), 400],
  ...['HTTP/1.2', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/1.10']
    .map((version) => [version, line(`POST /v1/chat/completions ${version}`), 400]),
  ['a method of 33 bytes', line(`${'A'.repeat(33)} /v1/models HTTP/1.1`), 400],
  ['a method that is no token', line('P(ST /v1/models HTTP/1.1'), 400],
  ['a method in lower case', line('post /v1/chat/completions HTTP/1.1'), 405],
  ['an unknown method', line('PATCH /v1/chat/completions HTTP/1.1'), 405],
  ['TRACE', without('TRACE /v1/models HTTP/1.1'), 405],
  ['CONNECT', without('CONNECT localhost:443 HTTP/1.1'), 405],
  ['the preface of HTTP/2', { line: 'PRI * HTTP/2.0', host: null, framing: null, body: 'SM\r\n\r\n' }, 400],
];

// ---- answers --------------------------------------------------------------------------

const OK = 'HTTP/1.1 200 OK';
const TYPE = 'Content-Type: application/json';
export const CHUNKED = `${OK}\r\n${TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n`;
const SIZE = BODY.length;
export const HEX = SIZE.toString(16);
export const BODY_CHUNK = `${HEX}\r\n${BODY}\r\n`;
export const POISON = answer('{"id":"poison"}');
export const head = (...lines) => `${[OK, TYPE, ...lines].join('\r\n')}\r\n\r\n`;
export const sized = (...lines) => head(`Content-Length: ${SIZE}`, ...lines) + BODY;

// Refused before anything of a body.
export const answers = [
  ['Content-Length and Transfer-Encoding',
    `${head(`Content-Length: ${SIZE}`, 'Transfer-Encoding: chunked')}${BODY_CHUNK}0\r\n\r\n`],
  ['two equal Content-Lengths', sized(`Content-Length: ${SIZE}`)],
  ['two different Content-Lengths', sized('Content-Length: 3')],
  ['a Content-Length of +5', head('Content-Length: +5') + 'abcde'],
  ['a Content-Length of 0x5', head('Content-Length: 0x5') + 'abcde'],
  ['a Content-Length of 5,5', head('Content-Length: 5,5') + 'abcde'],
  ['an empty Content-Length', head('Content-Length:')],
  ['a Content-Length of 20 digits', head('Content-Length: 00000000000000000005') + 'abcde'],
  ['Transfer-Encoding: xchunked', `${head('Transfer-Encoding: xchunked')}${BODY_CHUNK}0\r\n\r\n`],
  ['Transfer-Encoding: chunked, gzip', `${head('Transfer-Encoding: chunked, gzip')}${BODY_CHUNK}0\r\n\r\n`],
  ['Transfer-Encoding: gzip, chunked', `${head('Transfer-Encoding: gzip, chunked')}${BODY_CHUNK}0\r\n\r\n`],
  ['Transfer-Encoding twice',
    `${head('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}${BODY_CHUNK}0\r\n\r\n`],
  ['Transfer-Encoding on HTTP/1.0',
    `HTTP/1.0 200 OK\r\n${TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n${BODY_CHUNK}0\r\n\r\n`],
  ['bare LFs', sized().replaceAll('\r\n', '\n')],
  ['one bare LF', sized('X-A: a\nX-B: b')],
  ['a bare CR', sized('X-A: a\rContent-Length: 3')],
  ['a NUL', sized('X-A: a\0b')],
  ['a control byte', sized('X-A: a\x07b')],
  ['a folded line', sized('X-A: a', ' b')],
  ['a space before the colon', sized('X-A : a')],
  ['an empty name', sized(': a')],
  ['a line without a colon', sized('X-A')],
  ['a name with _', sized('X_A: a')],
  ['101 fields', sized(...Array.from({ length: 99 }, (_, i) => `X-${i}: a`))],
  ['33 KiB of fields', sized(...Array.from({ length: 3 }, (_, i) => `X-${i}: ${'a'.repeat(11_264)}`))],
  ['a value of 17 KiB', sized(`X-A: ${'a'.repeat(17 * 1024)}`)],
  ['a status line of 9 KiB', sized().replace('OK', 'a'.repeat(9 * 1024))],
  ['a status of 2 digits', sized().replace('200', '20')],
  ['a status of 600', sized().replace('200', '600')],
  ['HTTP/2.0', sized().replace('HTTP/1.1', 'HTTP/2.0')],
  ['what is no HTTP', 'nonsense\r\n\r\n'],
  ['101', `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n${POISON}`],
  ['304', `HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n`],
  ['a redirect', sized('Location: https://evil.example/').replace('200 OK', '307 Elsewhere')],
  ['204 with a length', sized().replace('200 OK', '204 No Content')],
  ['204 with chunks', `${CHUNKED.replace('200 OK', '204 No Content')}${BODY_CHUNK}0\r\n\r\n`],
  ['103 with a length', `HTTP/1.1 103 Early Hints\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`],
  ['a nomination of Content-Length', sized('Connection: Content-Length')],
  ['a nomination of Transfer-Encoding',
    `${head('Transfer-Encoding: chunked', 'Connection: transfer-encoding')}${BODY_CHUNK}0\r\n\r\n`],
  ...['close, residency-attestation', 'Content-Type', 'Content-Encoding', 'Retry-After']
    .map((names) => [`a nomination of ${names}`, sized(`Connection: ${names}`)]),
  ['a Connection that is no list of tokens', sized('Connection: "close"')],
];

// What may come behind the head of an answer in chunks, or behind its first chunk.
export const framings = [
  ['a chunk size of 0x5', '0x5\r\nabcde\r\n0\r\n\r\n'],
  ['a chunk size of +5', '+5\r\nabcde\r\n0\r\n\r\n'],
  ['a chunk size of -5', '-5\r\nabcde\r\n0\r\n\r\n'],
  ['a chunk size of 17 digits', '00000000000000005\r\nabcde\r\n0\r\n\r\n'],
  ['an empty chunk size', '\r\nabcde\r\n0\r\n\r\n'],
  ['a space before the chunk size', ' 5\r\nabcde\r\n0\r\n\r\n'],
  ['a space behind the chunk size', '5 \r\nabcde\r\n0\r\n\r\n'],
  ['a bare LF behind the chunk size', '5\nabcde\r\n0\r\n\r\n'],
  ['a chunk extension of 300 bytes', `5;a=${'a'.repeat(300)}\r\nabcde\r\n0\r\n\r\n`],
  ['a chunk extension with a bare LF', '5;a\nabcde\r\n0\r\n\r\n'],
  ['a trailer with _', '0\r\nX_A: a\r\n\r\n'],
  ['a trailer without a name', '0\r\n: a\r\n\r\n'],
  ['a folded trailer', '0\r\nX-A: a\r\n b\r\n\r\n'],
  ['a trailer Content-Length', '0\r\nContent-Length: 5\r\n\r\n'],
  ['a trailer Transfer-Encoding', '0\r\ntransfer-encoding: chunked\r\n\r\n'],
  ['33 trailers', `0\r\n${Array.from({ length: 33 }, (_, i) => `X-${i}: a\r\n`).join('')}\r\n`],
];
