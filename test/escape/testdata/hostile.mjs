// Makes the attempt that the event names, and answers with what came of it: "ok" when it worked, else the name of the error.
import fs from 'node:fs'
import net from 'node:net'
import dgram from 'node:dgram'
import os from 'node:os'
import path from 'node:path'
import { spawn, spawnSync } from 'node:child_process'
import { Worker } from 'node:worker_threads'
import { createRequire } from 'node:module'
import inspector from 'node:inspector'

const read = (file) => { if (fs.readFileSync(file).length === 0) throw new Error('empty') }
const connect = (options) => new Promise((resolve, reject) => {
  const s = net.connect(options)
  s.setTimeout(5000, () => { s.destroy(); reject(new Error('timeout')) })
  s.on('connect', () => { s.destroy(); resolve() })
  s.on('error', reject)
})
const sh = (script) => {
  const r = spawnSync('/bin/sh', ['-c', script], { encoding: 'utf8' })
  return r.status === 0 ? ['ok', r.stdout] : ['refused', r.stderr]
}
const found = (list) => list.length ? ['ok', list.join(', ')] : ['none']
const link = (fd) => { try { return fs.readlinkSync('/proc/self/fd/' + fd) } catch { return '' } }
const sockets = () => fs.readdirSync('/proc/self/fd').filter((fd) => link(fd).startsWith('socket:')).map(Number)
const own = /^(AWS_|LAMBDA_|_HANDLER$|_X_AMZN|PATH$|LANG$|LC_|TZ$|LD_LIBRARY_PATH$|NODE_|PWD$|HOME$|SHLVL$|_$|HANSOM_|PORT$|OTHER$)/
const require = createRequire(import.meta.url)
const frame = (kind, stream, body, length = body.length) => {
  const b = Buffer.alloc(16 + body.length)
  b.writeUInt32LE(length, 0)
  b[4] = kind
  b.writeBigUInt64LE(BigInt(stream), 8)
  Buffer.from(body).copy(b, 16)
  return b
}
const send = (data) => () => {
  for (const fd of sockets()) { try { fs.writeSync(fd, data) } catch {} }
  return new Promise(() => setTimeout(() => {}, 60_000))
}
let calls = 0

const attempts = {
  'read a file of the host': (e) => read(e.secret),
  'read it below the root of process 1': (e) => read(`/proc/${e.init}/root${e.secret}`),
  'read it through a symbolic link': (e) => {
    fs.rmSync('/tmp/link', { force: true })
    fs.symlinkSync(e.secret, '/tmp/link')
    read('/tmp/link')
  },
  'read it through an asynchronous call': async (e) => { await fs.promises.readFile(e.secret) },
  'read the environment of init': (e) => read(`/proc/${e.init}/environ`),
  'list the data directory': (e) => { fs.readdirSync(e.data) },
  'list the host\'s home directories': () => { fs.readdirSync('/home') },
  'import a file of the host': async (e) => { await import('file://' + e.secret) },
  'require a file of the host': (e) => { require(e.secret) },
  'load a library of the host': (e) => { process.dlopen({ exports: {} }, e.secret) },
  'write to the code': () => { fs.closeSync(fs.openSync(new URL(import.meta.url), 'a')) },
  'replace the code': () => { fs.renameSync(new URL(import.meta.url), '/tmp/app.mjs') },
  'remove the code': () => { fs.rmSync(path.dirname(new URL(import.meta.url).pathname), { recursive: true }) },
  'write to the bootstrap': () => { fs.writeFileSync('/var/runtime/new', '') },
  'write to the interpreter': () => { fs.closeSync(fs.openSync(fs.realpathSync(process.execPath), 'a')) },
  'watch what others open': () => { fs.watch('/usr/bin').close() },
  'become root': () => { process.setuid(0) },
  'take more groups': () => { process.setgroups([0]) },
  'raise its priority': () => { os.setPriority(-10) },
  'kill the init of another sandbox': (e) => { process.kill(e.otherInit, 'SIGKILL') },
  'signal a process of the host': (e) => { process.kill(e.pid, 0) },
  'make the host\'s process listen to a debugger': (e) => { process._debugProcess(e.pid) },
  'make a user namespace': () => sh('unshare -Ur true'),
  'mount a tmpfs': () => sh('mount -t tmpfs none /tmp'),
  'make /usr writable': () => sh('mount -o remount,rw,bind /usr'),
  'enter the namespaces of init': () => sh('nsenter -t 1 -a true'),
  'change the root': () => sh('chroot /tmp'),
  'become root with su': () => sh('su -c id'),
  'set the host name': () => sh('hostname escaped'),
  'read the kernel\'s log': () => sh('dmesg | grep .'),
  'set a kernel parameter': () => sh('echo 1 > /proc/sys/kernel/sysrq'),
  'make a device': () => sh('mknod /tmp/sda b 8 0'),
  'raise its own limits': () => sh('ulimit -n 1000000'),
  'add a network interface': () => sh('ip link add escape0 type veth'),
  'set rules of the network': () => sh('nft add table x'),
  'set the clock': () => sh('date -s @0'),
  'see processes of others with ps': () => {
    const list = fs.readdirSync('/proc').filter((n) => /^\d+$/.test(n)).map((n) => [n, fs.readFileSync(`/proc/${n}/cmdline`, 'utf8').replaceAll('\0', ' ')])
    return found(list.filter(([, line]) => !/^(hansom-init|\/.*node)/.test(line)).map(String))
  },
  'use an internal binding of Node.js': (e) => {
    const { spawn_sync: s } = process.binding('spawn_sync') ? { spawn_sync: process.binding('spawn_sync') } : {}
    const r = s.spawn({ file: '/bin/cat', args: ['cat', `/proc/${e.init}/environ`], stdio: [{ type: 'pipe', readable: true }, { type: 'pipe', writable: true }, { type: 'pipe', writable: true }] })
    return r.status === 0 ? ['ok', String(r.output[1])] : ['refused', String(r.output[2])]
  },
  'connect to a listener of the host': async (e) => {
    let last
    for (const a of e.tcp) {
      for (const host of ['127.0.0.1', '::1', a.slice(0, a.lastIndexOf(':')).replace(/[[\]]/g, '')]) {
        try { return await connect({ host, port: Number(a.slice(a.lastIndexOf(':') + 1)) }) } catch (err) { last = last ?? err }
      }
    }
    throw last
  },
  'connect to another sandbox\'s listener': (e) => connect({ host: '127.0.0.1', port: e.otherPort }),
  'connect to a Unix socket of the host': (e) => connect({ path: e.socket }),
  'connect to an abstract Unix socket of the host': (e) => connect({ path: '\0' + e.abstract }),
  'connect to an abstract Unix socket of a sandbox': (e) => connect({ path: '\0' + e.abstract + '-other' }),
  'send to another machine': () => new Promise((resolve, reject) => {
    const s = dgram.createSocket('udp4')
    s.on('error', (err) => { s.close(); reject(err) })
    s.send('x', 9, '192.0.2.1', (err) => { s.close(); err ? reject(err) : resolve() })
  }),
  'see how it was started': () => [fs.readFileSync('/proc/self/environ', 'utf8').includes('AWS_LAMBDA_FUNCTION_NAME=') ? 'booted' : 'bound', ''],
  'find foreign variables in its environment': (e) => {
    const names = new Set([...Object.keys(process.env), ...fs.readFileSync('/proc/self/environ', 'utf8').split('\0').filter(Boolean).map((v) => v.split('=')[0])])
    return found([...names].filter((n) => !own.test(n)).concat(Object.values(process.env).filter((v) => v.includes(e.data) || v.includes('escape-victim'))))
  },
  'find paths of other functions among its mounts': (e) => {
    const lines = fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter(Boolean)
    return found(lines.filter((l) => l.includes(e.otherDigest) || l.includes(e.project)))
  },
  'find open files of others': () => {
    const hits = fs.readdirSync('/proc/self/fd').map((fd) => fd + ' ' + link(fd))
      .filter((l) => !/^\d+ ((pipe|socket|anon_inode):|\/dev\/(null|u?random)$|\/proc\/|\/var\/(task|runtime|lang)\/|$)/.test(l))
    if (sockets().length > 1) hits.push(sockets().length + ' sockets')
    return found(hits)
  },
  'find sockets of others in /proc/net': (e) => {
    const ports = [...e.tcp.map((a) => Number(a.slice(a.lastIndexOf(':') + 1))), e.otherPort].map((p) => ':' + p.toString(16).toUpperCase().padStart(4, '0') + ' ')
    const hits = ['tcp', 'tcp6'].flatMap((t) => fs.readFileSync('/proc/net/' + t, 'utf8').split('\n')).filter((l) => ports.some((p) => l.includes(p)))
    return found(hits.concat(fs.readFileSync('/proc/net/unix', 'utf8').split('\n').filter((l) => /[@/]/.test(l))))
  },
  'find another function\'s secret in its own memory': () => {
    const fd = fs.openSync('/proc/self/mem', 'r')
    let hits = 0
    for (const line of fs.readFileSync('/proc/self/maps', 'utf8').split('\n')) {
      const m = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line)
      if (!m) continue
      const start = BigInt('0x' + m[1])
      const size = Number(BigInt('0x' + m[2]) - start)
      if (size > 64 << 20) continue
      const b = Buffer.alloc(size)
      try { fs.readSync(fd, b, 0, size, start) } catch { continue }
      if (/[e]scape-victim-secret-[0-9a-f]{32}/.test(b.toString('latin1'))) hits++
    }
    fs.closeSync(fd)
    return hits > 0 ? ['ok', String(hits)] : ['none']
  },
  'send garbage to the server': send(Buffer.alloc(4096, 0xff)),
  'send a frame of 4 GB to the server': send(frame(8, 1, '', 0xffffffff)),
  'answer a call that is not its own': send(frame(4, 2n ** 40n, '"forged"')),
  'use up the memory': () => { const hoard = []; for (;;) hoard.push(Buffer.alloc(1 << 20, 1)) },
  'use up the heap': () => { const hoard = []; for (;;) hoard.push(new Array(1 << 16).fill(hoard.length)) },
  'start threads without end': async () => {
    const list = []
    try {
      for (let i = 0; i < 600; i++) {
        const w = new Worker('setInterval(() => {}, 1000)', { eval: true, resourceLimits: { maxOldGenerationSizeMb: 1, maxYoungGenerationSizeMb: 1 } })
        list.push(w)
        await new Promise((resolve, reject) => { w.on('online', resolve); w.on('error', reject) })
      }
    } finally { await Promise.all(list.map((w) => w.terminate())) }
  },
  'spin': () => { for (;;); },
  'leave a process that ignores every signal': () => {
    spawn('/bin/sh', ['-c', "trap '' TERM HUP INT; sleep 1000"], { detached: true, stdio: 'ignore' }).unref()
    return ['left']
  },
  'burn the processor after the answer': () => { setImmediate(() => { for (;;); }); return ['left'] },
  'print without end': () => {
    const block = Buffer.from(('x'.repeat(1023) + '\n').repeat(64))
    const end = Date.now() + 3000
    while (Date.now() < end) { try { fs.writeSync(1, block) } catch (err) { if (err.code !== 'EAGAIN') throw err } }
    return ['printed']
  },
  'open a debugger for all': async () => {
    inspector.open(9229, '0.0.0.0')
    const reached = os.networkInterfaces()
    inspector.close()
    return found(Object.keys(reached).filter((n) => n !== 'lo'))
  },
  'none': () => ['none'],
  'count': () => [String(calls)],
}

export const handler = async (event) => {
  calls++
  const f = attempts[event.attempt]
  if (!f) return { result: 'no such attempt' }
  try {
    const r = await f(event)
    return r ? { result: r[0], detail: r[1] } : { result: 'ok' }
  } catch (err) {
    return { result: err.code ?? err.name, detail: err.message }
  }
}
