// The machine that a run was made on, and whether its disk is one.
import { spawnSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import os from 'node:os';

const MEMORY_FILE_SYSTEMS = ['tmpfs', 'ramfs', 'devtmpfs'];

// The file system that holds a folder: the mount with the longest prefix; the last one there wins.
export function fileSystemOf(folder) {
  const at = realpathSync(folder);
  let best = { point: '', type: 'unknown' };
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [before, after] = line.split(' - ');
    if (!after) continue;
    const point = before.split(' ')[4].replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
    const inside = at === point || at.startsWith(point.endsWith('/') ? point : `${point}/`);
    if (inside && point.length >= best.point.length) best = { point, type: after.split(' ')[0] };
  }
  return best.type;
}

// The ledger's commits are part of the work: memory instead of a disk would leave them out.
export function refuseMemory(folder) {
  const type = fileSystemOf(folder);
  if (MEMORY_FILE_SYSTEMS.includes(type)) {
    throw new Error(`${folder} is on ${type}: the ledger needs a disk file system (--dir FOLDER)`);
  }
  return type;
}

function firstLine(command, argv) {
  const r = spawnSync(command, argv, { encoding: 'utf8' });
  return r.error ? 'absent' : (r.stdout + r.stderr).trim().split('\n')[0];
}

export function describeMachine(folder) {
  return {
    cpu: os.cpus()[0].model,
    cores: os.cpus().length,
    memory_mib: Math.round(os.totalmem() / 1048576),
    kernel: `${os.type()} ${os.release()}`,
    file_system: fileSystemOf(folder),
    load_before: os.loadavg()[0],
    programs: {
      haproxy: firstLine('haproxy', ['-v']),
      nginx: firstLine('nginx', ['-v']),
      wrk: firstLine('wrk', ['-v']),
      openssl: firstLine('openssl', ['version']),
      node: process.version,
    },
  };
}
