// Opens STREAMS streams on PORT and counts their events: node sse-client.mjs PORT STREAMS, in the
// folder with token, req.json and addresses.txt. "count" on stdin answers
// {"open","events","done","bad","why"}; it ends when all streams did: 1 if any was not 200, broke,
// or lacked its [DONE].
import fs from 'node:fs';
import https from 'node:https';
import readline from 'node:readline';

const [port, streams] = process.argv.slice(2).map(Number);
const OPENING_MAX = 16; // at one time: handshakes are dear, and a storm of them starves the rest
const LF = 10;
const END = Buffer.from('data: [DONE]\n\n');
const body = fs.readFileSync('req.json');
const addresses = fs.readFileSync('addresses.txt', 'utf8').trim().split('\n');
const headers = { authorization: `Bearer ${fs.readFileSync('token', 'utf8').trim()}`, 'content-type': 'application/json', 'content-length': body.length };
const agent = new https.Agent({ keepAlive: false, maxSockets: Infinity });
const count = { open: 0, events: 0, done: 0, bad: 0, why: '' };

function bad(why) {
  count.bad++;
  count.why ||= why;
}

// An event ends with an empty line; data may end anywhere inside it.
function watch(response) {
  let tail = Buffer.alloc(0);
  response.on('data', (data) => {
    let before = tail.length > 0 ? tail[tail.length - 1] : 0;
    for (const byte of data) {
      if (byte === LF && before === LF) count.events++;
      before = byte;
    }
    tail = (data.length >= END.length ? data : Buffer.concat([tail, data])).subarray(-END.length);
  });
  response.on('end', () => {
    count.open--;
    count.done++;
    if (!tail.equals(END)) bad('a stream ended without [DONE]');
  });
  response.on('error', (error) => bad(error.message));
}

let made = 0;
let opening = 0;

function open() {
  for (; opening < OPENING_MAX && made < streams; opening++) start(made++);
}

function start(i) {
  const options = { host: '127.0.0.1', port, method: 'POST', path: '/v1/chat/completions', agent, rejectUnauthorized: false };
  const request = https.request({ ...options, headers: { ...headers, 'x-forwarded-for': addresses[i % addresses.length] } }, (response) => {
    opening--;
    open();
    if (response.statusCode !== 200) bad(`status ${response.statusCode}`);
    count.open++;
    watch(response);
  });
  request.on('error', (error) => bad(error.message));
  request.end(body);
}

open();
setInterval(() => {
  if (count.done < streams && count.bad === 0) return;
  console.log(JSON.stringify(count));
  process.exit(count.bad > 0 ? 1 : 0);
}, 100);
readline.createInterface({ input: process.stdin }).on('line', () => console.log(JSON.stringify(count))).on('close', () => process.exit(1));
