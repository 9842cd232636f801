// A model server that streams, over mTLS: node sse-server.mjs PORT EVERY_MS, in the folder with
// backend.* and ca.crt. Each stream begins with an event and
// gets another every EVERY_MS until told to finish.
// Commands on stdin, a line each: "count" answers {"live","sent"}; "finish" ends all streams with
// [DONE]; "every N" sets the pace.
import fs from 'node:fs';
import https from 'node:https';
import readline from 'node:readline';

const port = Number(process.argv[2]);
let every = Number(process.argv[3]);
const tls = { key: fs.readFileSync('backend.key'), cert: fs.readFileSync('backend.crt'), ca: fs.readFileSync('ca.crt'), requestCert: true, rejectUnauthorized: true };
const chunk = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1700000000, model: 'mistral', choices: [{ index: 0, delta: { content: 'hello' }, finish_reason: null }] };
const event = Buffer.from(`data: ${JSON.stringify(chunk)}\n\n`);
const last = Buffer.from(`data: ${JSON.stringify({ ...chunk, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\ndata: [DONE]\n\n`);
const live = new Set();
let sent = 0;
let serial = 0;

https.createServer(tls, (request, response) => {
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ object: 'list', data: [{ id: 'mistral', object: 'model' }] }));
    return;
  }
  request.resume();
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    response.write(event);
    sent++;
    response.serial = serial++;
    live.add(response);
    response.on('close', () => live.delete(response));
  });
}).listen(port, '127.0.0.1');

// A beat comes in slices, BURST_MS apart: no long turn in which nothing else is served.
const BURST_MS = 100;
let slice = 0;

function beat() {
  const slices = Math.max(1, Math.round(every / BURST_MS));
  slice = (slice + 1) % slices;
  for (const response of live) {
    if (response.serial % slices !== slice) continue;
    response.write(event);
    sent++;
  }
}
let timer = setInterval(beat, Math.min(every, BURST_MS));

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [command, value] = line.split(' ');
  if (command === 'every') {
    every = Number(value);
    clearInterval(timer);
    timer = setInterval(beat, Math.min(every, BURST_MS));
  } else if (command === 'finish') {
    for (const response of live) {
      response.end(last);
      sent += 2;
    }
    live.clear();
  }
  console.log(JSON.stringify({ live: live.size, sent }));
}).on('close', () => process.exit(0));
