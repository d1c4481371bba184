'use strict';
// Does what the event's action says: what hostile and broken code does.
const fs = require('fs');
const { spawn } = require('child_process');

const RESULT = 4, LOG = 8;
let calls = 0;

function frame(kind, stream, body, length = body.length) {
  const b = Buffer.alloc(16 + body.length);
  b.writeUInt32LE(length, 0);
  b[4] = kind;
  b.writeBigUInt64LE(BigInt(stream), 8);
  b.write(body, 16);
  return b;
}

const forever = () => new Promise(() => setInterval(() => {}, 1000));

const actions = {
  count: () => ({ calls, pid: process.pid }),
  sleep: forever,
  spin: () => { for (;;); },
  fork: () => {
    spawn('/bin/sh', ['-c', 'f() { f | f & }; f']);
    return forever();
  },
  memory: () => {
    const hoard = [];
    for (;;) hoard.push(Buffer.alloc(1 << 20, 1));
  },
  tmp: () => {
    const fd = fs.openSync('/tmp/full', 'w');
    let written = 0;
    try {
      for (;;) written += fs.writeSync(fd, Buffer.alloc(1 << 20));
    } catch (err) {
      return { errno: err.code, some: written > 0 };
    } finally {
      fs.closeSync(fd);
      fs.unlinkSync('/tmp/full');
    }
  },
  log: () => {
    const line = 'x'.repeat(1023);
    for (let i = 0; i < 100 << 10; i++) console.log(line);
    return 'logged';
  },
  log_forever: () => { for (;;) console.log('x'.repeat(1000)); },
  close: () => fs.closeSync(3),
  twice: () => {
    fs.writeSync(3, frame(RESULT, calls, '"first"'));
    return 'second';
  },
  garbage: () => {
    fs.writeSync(3, Buffer.alloc(100, 255));
    return 'garbage';
  },
  huge: () => {
    fs.writeSync(3, frame(LOG, calls, '', 0xffffffff));
    return 'huge';
  },
  future: () => {
    fs.writeSync(3, frame(RESULT, calls + 5, '"future"'));
    return 'future';
  },
  half: () => {
    fs.writeSync(3, frame(RESULT, calls, '').subarray(0, 7));
    return forever();
  },
  exit: () => process.exit(3),
  leave: () => process.exit(0),
  kill: () => process.kill(process.pid, 'SIGKILL'),
  crash: () => process.abort(),
  stop: () => process.kill(process.pid, 'SIGSTOP'),
  throw: () => {
    setImmediate(() => { throw new TypeError('thrown'); });
    return forever();
  },
  reject: () => {
    Promise.reject(new Error('rejected'));
    return forever();
  },
  large: () => 'x'.repeat(7 << 20),
};

exports.handler = async (event) => {
  calls++;
  return actions[event.action]();
};
