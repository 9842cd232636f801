// A raw connection that a test holds open: what slow, greedy and idle clients are made of.
import net from 'node:net';
import tls from 'node:tls';
import { FROM } from './client.mjs';

// The head of a chat request with a body of `length` bytes.
export const chatHead = (node, token, length, more = '') =>
  `POST /v1/chat/completions HTTP/1.1\r\nHost: ${node.authority}\r\n`
  + `Authorization: Bearer ${token}\r\nX-Forwarded-For: ${FROM.DE}\r\n${more}`
  + `Content-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;

export class Held {
  // Over TLS, unless `plain`. A connection that is refused is `closed` before it is `open`.
  constructor(node, { plain = false, localAddress } = {}) {
    const to = { host: node.host, port: node.port, localAddress };
    this.socket = plain ? net.connect(to)
      : tls.connect({ ...to, ca: node.ca, servername: node.servername, ...node.tls });
    this.text = '';
    this.isOpen = false;
    this.isClosed = false;
    this.socket.on('data', (chunk) => { this.text += chunk.toString('latin1'); });
    this.error = null; // the code of the one that ended it
    this.socket.on('error', ({ code }) => { this.error = code; });
    this.opened = new Promise((resolve) => {
      this.socket.once(plain ? 'connect' : 'secureConnect', () => {
        this.isOpen = true;
        resolve(true);
      });
      this.socket.once('close', () => resolve(false));
    });
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.isClosed = true;
        resolve();
      });
    });
  }

  // True once it is open; false when it was refused.
  static async open(node, options) {
    const held = new Held(node, options);
    await held.opened;
    return held;
  }

  write(bytes) {
    if (!this.isClosed) {
      this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    }
    return this;
  }

  end() {
    this.socket.destroy();
    return this.closed;
  }
}

// A piece every `everyMs`, until the connection ends.
export function dribble(held, pieces, everyMs) {
  let i = 0;
  const timer = setInterval(() => {
    held.write(pieces[i % pieces.length]);
    i += 1;
  }, everyMs);
  held.closed.then(() => clearInterval(timer));
  return () => clearInterval(timer);
}
