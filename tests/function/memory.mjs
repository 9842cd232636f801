// What a node holds of the machine's memory.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const TIB_IN_KIB = 1024 ** 3;

function statusKiB(node, name) {
  const status = readFileSync(`/proc/${node.child.process.pid}/status`, 'utf8');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)[1]);
}

export const residentKiB = (node) => statusKiB(node, 'VmRSS');
export const peakKiB = (node) => statusKiB(node, 'VmHWM');

// Terabytes of reserved addresses give a sanitizer away.
export const isSanitized = (node) => statusKiB(node, 'VmSize') > TIB_IN_KIB;

// A sanitizer keeps what is freed, so there a bound says nothing.
export function assertGrewLess(node, grownKiB, limitKiB) {
  assert.ok(isSanitized(node) || grownKiB < limitKiB, `grew by ${grownKiB} KiB`);
}
