// Tables of what must be refused, the same from whoever it comes: clients and peers, backends and
// peers.
import { CHAT } from './raw.mjs';
import { answer, BODY } from './raw-backend.mjs';

const many = (count, value) => Array.from({ length: count }, (_, i) => `X-${i}: ${value}`);
const shown = (text) => JSON.stringify(text);

// ---- requests -------------------------------------------------------------------------

// What differs from a good request (raw.mjs).
export const field = (text) => ({ fields: [text] });
export const line = (text) => ({ line: text });
export const path = (text) => line(`POST ${text} HTTP/1.1`);
export const without = (text) => ({ line: text, framing: null, body: '' });
export const sizedAs = (length) => ({ framing: `Content-Length:${length}`, body: 'abcde' });
export const coded = (body, more = {}, coding = 'chunked') =>
  ({ framing: `Transfer-Encoding: ${coding}`, body, ...more });

const CHAT_CHUNK = `${CHAT.length.toString(16)}\r\n${CHAT}\r\n`;
const CHUNKS = `${CHAT_CHUNK}0\r\n\r\n`;

const lines = [
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
  ['101 fields', { fields: many(96, 'a') }, 431],
  ['33 KiB of fields', { fields: many(3, 'a'.repeat(11 * 1024)) }, 431],
  ['a value of 16 KiB and a byte', field(`X-A: ${'a'.repeat(16 * 1024 + 1)}`), 431],
];

const framing = [
  ['Content-Length and Transfer-Encoding', coded(CHUNKS, field('Content-Length: 4')), 400],
  ['Transfer-Encoding behind Content-Length', field('Transfer-Encoding: chunked'), 400],
  ['two equal Content-Lengths', field(`Content-Length: ${CHAT.length}`), 400],
  ['two different Content-Lengths', field('Content-Length: 0'), 400],
  ...[' +5', ' -5', ' 0x5', ' 5,5', ' 5 5', ' 5a', '', ' 00000000000000000005'].map((length) =>
    [`a Content-Length of ${shown(length)}`, sizedAs(length), 400]),
  ['Transfer-Encoding twice', coded(CHUNKS, field('Transfer-Encoding: chunked')), 400],
  ['Transfer-Encoding on HTTP/1.0', coded(CHUNKS, line('POST /v1/chat/completions HTTP/1.0')), 400],
  ...['xchunked', 'chunked, gzip', 'gzip, chunked', 'identity', 'Chunked', 'chunked;a',
    '\tchunked', ''].map((coding) =>
    [`a Transfer-Encoding of ${shown(coding)}`, coded(CHUNKS, {}, coding), 400]),
  ...['GET', 'HEAD', 'DELETE', 'OPTIONS'].flatMap((method) => [
    [`a body on ${method}`, line(`${method} /v1/models HTTP/1.1`), 400],
    [`chunks on ${method}`, coded(CHUNKS, line(`${method} /v1/models HTTP/1.1`)), 400]]),
];

const chunks = [
  ...['0x5', '+5', '-5', '', ' 5', '5 ', '00000000000000005', '5;', '5;a=', '5;a="\\""', '5 ;a',
    '5;a;b'].map((size) =>
    [`a chunk size of ${shown(size)}`, coded(`${size}\r\n{"a":\r\n${CHUNKS}`), 400]),
  ['a bare LF behind a chunk size', coded('5\n{"a":\r\n0\r\n\r\n'), 400],
  ['a chunk extension of 257 bytes', coded(`5;${'a'.repeat(256)}\r\n{"a":\r\n0\r\n\r\n`), 400],
  ['other bytes in place of a chunk\'s CRLF', coded('5\r\n{"a":XX0\r\n\r\n'), 400],
  ...['Content-Length: 0', 'Transfer-Encoding: chunked', 'Host: a', 'Authorization: a',
    'Connection: close', 'Expect: 100-continue', 'Trailer: a', 'X_A: a', ': a', 'X-A: a\r\n b',
    'X-A : a', 'X-A: a\0'].map((trailer) =>
    [`a trailer ${shown(trailer)}`, coded(`${CHAT_CHUNK}0\r\n${trailer}\r\n\r\n`), 400]),
  ['33 trailers', coded(`${CHAT_CHUNK}0\r\n${'X-A: a\r\n'.repeat(33)}\r\n`), 400],
];

const options = [
  ...['Host', 'Content-Length', 'Transfer-Encoding', 'Authorization', 'close, authorization',
    'X-Api-Key', 'X-Forwarded-For', 'Forwarded', 'X-Portolan-Class', 'Content-Type',
    'Content-Encoding', 'Anthropic-Version', 'Expect', 'Residency-Attestation',
    'Residency-Commitment-Key', 'residency-x'].map((name) =>
    [`a nomination of ${name}`, field(`Connection: ${name}`), 400]),
  ['a nomination that is no token', field('Connection: "close"'), 400],
  ['101 nominations', field(`Connection: ${'a, '.repeat(101)}`), 400],
  ['an unknown expectation', field('Expect: 200-ok'), 417],
  ['two expectations', field('Expect: 100-continue, 100-continue'), 417],
  ['an expectation with a parameter', field('Expect: 100-continue;a'), 417],
];

const hosts = [
  ['no Host', { host: null }, 400],
  ['no Host on HTTP/1.0', { line: 'POST /v1/chat/completions HTTP/1.0', host: null }, 400],
  ['two equal Hosts', field('Host: localhost'), 400],
  ['two different Hosts', field('Host: other.example'), 400],
  ['an empty Host', { host: 'Host:' }, 400],
  ['a Host with a path', { host: 'Host: localhost/a' }, 400],
  ['a Host with a user', { host: 'Host: a@localhost' }, 400],
  ['an absolute form that is not the Host', path('https://a.example/v1/chat/completions'), 400],
  ['an absolute form with a user', path('https://a@localhost/v1/chat/completions'), 400],
  ['an absolute form of another scheme', path('ftp://localhost/v1/chat/completions'), 400],
];

const targets = [
  ['a path with %00 and no body', without('GET /v1/models%00 HTTP/1.1'), 400],
  ['a path with %2f and no body', without('GET /v1%2fmodels HTTP/1.1'), 400],
  ...['/v1/chat/completions%00', '/v1%2fchat/completions', '/v1%2Fchat/completions',
    '/v1\\chat\\completions', '/v1%5cchat/completions', '/v1%5Cchat/completions', '/v1/chat/%',
    '/v1/chat/%4', '/v1/chat/%zz', '/a/..;/v1/chat/completions', '/v1/chat/completions#a', '*',
    'v1/chat/completions', '/v1/chat/compl\xe9tions', '/v1/chat/<a>'].map((target) =>
    [`the target ${shown(target)}`, path(target), 400]),
  ['a target of 8 KiB', path(`/${'a'.repeat(8 * 1024)}`), 414],
];

const startLines = [
  ['two spaces in the request line', line('POST  /v1/chat/completions HTTP/1.1'), 400],
  ['a tab in the request line', line('POST\t/v1/chat/completions HTTP/1.1'), 400],
  ['a space behind the version', line('POST /v1/chat/completions HTTP/1.1 '), 400],
  ['a space before the method', line(' POST /v1/chat/completions HTTP/1.1'), 400],
  ['no version', line('POST /v1/chat/completions'), 400],
  ...['HTTP/1.2', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/1.10']
    .map((version) => [version, line(`POST /v1/chat/completions ${version}`), 400]),
  ['a method of 33 bytes', line(`${'A'.repeat(33)} /v1/models HTTP/1.1`), 400],
  ['a method that is no token', line('P(ST /v1/models HTTP/1.1'), 400],
  ['a method in lower case', line('post /v1/chat/completions HTTP/1.1'), 405],
  ['an unknown method', line('PATCH /v1/chat/completions HTTP/1.1'), 405],
  ['TRACE', without('TRACE /v1/models HTTP/1.1'), 405],
  ['CONNECT', without('CONNECT localhost:443 HTTP/1.1'), 405],
  ['the preface of HTTP/2',
    { line: 'PRI * HTTP/2.0', host: null, framing: null, body: 'SM\r\n\r\n' }, 400],
];

// [name, what differs, status]
export const requests = [...lines, ...framing, ...chunks, ...options, ...hosts, ...targets,
  ...startLines];

// ---- answers --------------------------------------------------------------------------

const OK = 'HTTP/1.1 200 OK';
const TYPE = 'Content-Type: application/json';
const SIZE = `Content-Length: ${BODY.length}`;
const CODED = 'Transfer-Encoding: chunked';
export const HEX = BODY.length.toString(16);
export const BODY_CHUNK = `${HEX}\r\n${BODY}\r\n`;
export const POISON = answer('{"id":"poison"}');
export const head = (...fields) => `${[OK, TYPE, ...fields].join('\r\n')}\r\n\r\n`;
export const sized = (...fields) => head(SIZE, ...fields) + BODY;
export const CHUNKED = head(CODED);
const inChunks = (...fields) => `${head(...fields)}${BODY_CHUNK}0\r\n\r\n`;
const as = (status, bytes) => bytes.replace('200 OK', status);

// Refused before anything of a body: [name, bytes].
export const answers = [
  ['Content-Length and Transfer-Encoding', inChunks(SIZE, CODED)],
  ['Transfer-Encoding and Content-Length', inChunks(CODED, SIZE)],
  ['two equal Content-Lengths', sized(SIZE)],
  ['two different Content-Lengths', sized('Content-Length: 3')],
  ...[' +5', ' -5', ' 0x5', ' 5,5', '', ' 00000000000000000005', ' 9223372036854775808'].map(
    (length) =>
      [`a Content-Length of ${shown(length)}`, `${head(`Content-Length:${length}`)}abcde`]),
  ...['xchunked', 'chunked, gzip', 'gzip, chunked', 'identity', 'Chunked'].map((coding) =>
    [`a Transfer-Encoding of ${shown(coding)}`, inChunks(`Transfer-Encoding: ${coding}`)]),
  ['Transfer-Encoding twice', inChunks(CODED, CODED)],
  ['Transfer-Encoding on HTTP/1.0', inChunks(CODED).replace('HTTP/1.1', 'HTTP/1.0')],
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
  ['101 fields', sized(...many(99, 'a'))],
  ['33 KiB of fields', sized(...many(3, 'a'.repeat(11 * 1024)))],
  ['a value of 16 KiB and a byte', sized(`X-A: ${'a'.repeat(16 * 1024 + 1)}`)],
  ['a status line of 9 KiB', as(`200 ${'a'.repeat(9 * 1024)}`, sized())],
  ['a status of 2 digits', as('20 OK', sized())],
  ['a status of 600', as('600 OK', sized())],
  ['HTTP/2.0', sized().replace('HTTP/1.1', 'HTTP/2.0')],
  ['what is no HTTP', 'nonsense\r\n\r\n'],
  ['101', `HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n${POISON}`],
  ['304', 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'],
  ['a redirect', as('307 Elsewhere', sized('Location: https://evil.example/'))],
  ['204 with a length', as('204 No Content', sized())],
  ['204 with chunks', as('204 No Content', inChunks(CODED))],
  ['103 with a length', as('103 Early Hints', POISON)],
  ['a nomination of Transfer-Encoding', inChunks(CODED, 'Connection: transfer-encoding')],
  ...['Content-Length', 'close, residency-attestation', 'Content-Type', 'Content-Encoding',
    'Retry-After'].map((names) => [`a nomination of ${names}`, sized(`Connection: ${names}`)]),
  ['a Connection that is no list of tokens', sized('Connection: "close"')],
];

// What may come behind the head of an answer in chunks, or behind its first chunk.
export const framings = [
  ...['0x5', '+5', '-5', '00000000000000005', '', ' 5', '5 ', '5;', '5;a;b'].map((size) =>
    [`a chunk size of ${shown(size)}`, `${size}\r\nabcde\r\n0\r\n\r\n`]),
  ['a bare LF behind the chunk size', '5\nabcde\r\n0\r\n\r\n'],
  ['a chunk extension of 257 bytes', `5;${'a'.repeat(256)}\r\nabcde\r\n0\r\n\r\n`],
  ['a chunk extension with a bare LF', '5;a\nabcde\r\n0\r\n\r\n'],
  ...['X_A: a', ': a', 'X-A: a\r\n b', 'X-A : a', 'X-A: a\0', 'Content-Length: 5',
    'transfer-encoding: chunked'].map((trailer) =>
    [`a trailer ${shown(trailer)}`, `0\r\n${trailer}\r\n\r\n`]),
  ['33 trailers', `0\r\n${'X-A: a\r\n'.repeat(33)}\r\n`],
];
