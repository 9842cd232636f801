// Forms as clients send them: multipart/form-data, written out so that a test owns every byte.
import https from 'node:https';
import { FROM } from './client.mjs';

export const BOUNDARY = '----portolan-test';

// A part is [name, text] or [name, bytes, file name].
export const partOf = ([name, value, filename]) => Buffer.concat([
  Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"`
    + (filename === undefined ? '' : `; filename="${filename}"\r\nContent-Type: audio/wav`)
    + '\r\n\r\n'),
  Buffer.from(value), Buffer.from('\r\n')]);

export const END = Buffer.from(`--${BOUNDARY}--\r\n`);
export const formOf = (...parts) => Buffer.concat([...parts.map(partOf), END]);

// Sends a form; `write` gets (request) and ends it itself, else `body` goes out at once.
export function askForm(node, caller, { path = '/v1/audio/transcriptions', body, write,
  headers = {}, signal, onHead } = {}) {
  return new Promise((resolve, reject) => {
    const request = https.request({
      host: node.host, port: node.port, path, method: 'POST', agent: false, ca: node.ca,
      servername: node.servername, signal,
      headers: {
        host: node.authority, authorization: `Bearer ${caller.token}`,
        'x-forwarded-for': FROM[caller.from],
        'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
        ...(body === undefined ? {} : { 'content-length': body.length }), ...headers,
      },
    }, (answer) => {
      const chunks = [];
      onHead?.(answer);
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.once('error', reject);
      answer.once('end', () => {
        const bytes = Buffer.concat(chunks);
        resolve({ status: answer.statusCode, headers: answer.headers, bytes,
          text: bytes.toString('utf8'), json: () => JSON.parse(bytes.toString('utf8')) });
      });
    });
    request.once('error', reject);
    if (write === undefined) {
      request.end(body);
    } else {
      request.flushHeaders();
      write(request);
    }
  });
}
