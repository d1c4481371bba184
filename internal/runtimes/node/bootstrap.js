'use strict';
// The bootstrap of the Node.js runtimes: loads a handler and answers invocations that arrive as frames on fd 3. The frames are
// described in the package comment of internal/frame; errors, context and log format are those of AWS Lambda's own runtime.
//
// It runs in one process with the user's code, which may replace any global: what it needs is taken here, before that code loads.
const fs = require('fs');
const path = require('path');
const { format } = require('util');

const FD = 3, HEADER = 16, PROTOCOL = 1;
const INIT = 1, READY = 2, INVOKE = 3, RESULT = 4, ERROR = 5, CHUNK = 6, END = 7, LOG = 8, CANCEL = 9, WINDOW = 10, PING = 11, STOP = 12;
const F_INIT = 1, F_STREAM = 2, F_ERROR = 4, F_FATAL = 8;
const MAX_ANSWER = 6 * 1024 * 1024 + 100; // Lambda's own limit, in bytes
const MAX_LOG = 256 * 1024; // bytes of one LOG frame
const MAX_CHUNK = 1024 * 1024; // bytes of one CHUNK frame
const CREDIT = 256 * 1024; // bytes of CHUNK bodies that a stream may have before its first WINDOW, where invocations run beside each other
const MAX_BATCHED = 16 * 1024; // bytes of an answer that may wait for others
const MAX_QUEUED = 1024 * 1024; // bytes that wait for the server before logs are dropped (idle) or the program is held up (busy)
const HTTP_STREAM = 'application/vnd.awslambda.http-integration-response';
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const NEVER_SETTLED = 'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was never settled. For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes';
const NO_CALLBACKS = 'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later. For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.';
const NO_CALLBACKS_BESIDE = 'Callback handlers are not supported where an instance takes several invocations at once: use an async handler, or a concurrency of 1.';

const { parse, stringify } = JSON;
const { readSync, writeSync, writevSync } = fs;
const { allocUnsafeSlow, allocUnsafe, byteLength, isBuffer, from: bufferFrom } = Buffer;
const { wait } = Atomics;
const { nextTick, exit } = process;
const builtin = process.getBuiltinModule || require; // Node.js 20.16 and newer: whatever the program has done to require
const { setTimeout, setImmediate, Date, Error, SyntaxError, String, Uint8Array } = globalThis;

// ---- V8 takes the compiled code of Node.js's own modules from the executable as long as its flags are those that it was compiled with.
// Flags for the size of the heap have done their work by now, and with them each module would take several times as long to load. Only
// the heaps of threads go by them too: they are set again when the module that starts threads is loaded, which replaces process.chdir.

function dropHeapFlags() {
  const flags = process.execArgv.filter((arg) => arg.startsWith('--max-old-space-size=') || arg.startsWith('--max-semi-space-size='));
  if (flags.length === 0) return;
  const { noDeprecation } = process;
  let setFlag;
  try {
    process.noDeprecation = true;
    ({ setFlagsFromString: setFlag } = process.binding('v8')); // the public module loads many others
  } catch {
    // Then each module takes its time.
  } finally {
    if (noDeprecation === undefined) delete process.noDeprecation;
    else process.noDeprecation = noDeprecation;
  }
  if (typeof setFlag !== 'function') return;
  for (const flag of flags) setFlag(flag.slice(0, flag.indexOf('=')) + '=0');
  let { chdir } = process;
  Object.defineProperty(process, 'chdir', {
    configurable: true,
    enumerable: true,
    get: () => chdir,
    set(replaced) {
      for (const flag of flags) setFlag(flag);
      chdir = replaced;
    },
  });
}

dropHeapFlags();

// ---- Writing. Small frames are written at once and synchronously: nothing logged is lost when the program ends abruptly, and
// nothing piles up in memory when it prints faster than the server reads.

const out = allocUnsafeSlow(64 * 1024);
const outWords = new Uint32Array(out.buffer, 0, 4); // the header; all hosts are little-endian
const sleeper = new Int32Array(new SharedArrayBuffer(4));
let queue = []; // {buffer, done}: what the socket did not take, in order
let queued = 0;
let retry = 0; // milliseconds until the next attempt; 0 when none is due
let dropped = 0; // LOG frames
let gone = false; // the server's end is closed
let rehearsing = false; // nothing is sent

// attempt writes as much of buf[start:end] as the socket takes, and returns where it stopped.
function attempt(buf, start, end) {
  try {
    while (start < end) start += writeSync(FD, buf, start, end - start);
  } catch (err) {
    if (err.code !== 'EAGAIN') lost();
    if (gone) return end;
  }
  return start;
}

function lost() {
  if (gone) return;
  gone = true;
  queue = [];
  queued = 0;
  exit(1);
}

// send writes a frame that lies in buf[0:end]; buf may be used again afterwards. kept: buf is not used again.
function send(buf, end, kept) {
  if (rehearsing) return;
  let start = 0;
  if (queued === 0) {
    start = attempt(buf, 0, end);
    if (start === end) return;
  } else if (queued > MAX_QUEUED && inFlight === 0 && buf[4] === LOG) {
    dropped++;
    return;
  }
  const rest = buf.subarray(start, end);
  push(kept ? rest : bufferFrom(rest), undefined);
  // While an invocation is under way the server reads. While none is it may be writing one, and must not be waited for.
  if (inFlight > 0 && (streams === 0 || queued > MAX_QUEUED)) drain(Infinity);
}

function push(buffer, done) {
  queue.push({ buffer, done });
  queued += buffer.length;
  if (retry === 0) again(1);
}

function again(ms) {
  retry = ms;
  setTimeout(flush, ms);
}

// flush writes what waits, as far as the socket takes it, and comes back for the rest.
function flush() {
  const before = queued, delay = retry;
  retry = 0;
  writeQueue();
  if (queued > 0) {
    again(queued < before ? 1 : Math.min(delay * 2, 16));
  } else if (dropped > 0) {
    const n = dropped;
    dropped = 0;
    log('WARN', [`${n} log messages were dropped: they came faster than they could be taken while no invocation was running`]);
  }
}

// drain waits until all is written, at most for some milliseconds.
function drain(limit) {
  for (let ms = 0.02; queued > 0 && limit > 0; limit -= ms) {
    const before = queued;
    writeQueue();
    if (queued === 0) return;
    ms = queued < before ? 0.02 : Math.min(ms * 2, 4);
    wait(sleeper, 0, 0, ms);
  }
}

function writeQueue() {
  while (queue.length > 0) {
    let n = 0;
    try {
      n = queue.length === 1 ? writeSync(FD, queue[0].buffer) : writevSync(FD, queue.slice(0, 64).map((q) => q.buffer));
    } catch (err) {
      if (err.code !== 'EAGAIN') lost();
      return;
    }
    queued -= n;
    let i = 0;
    for (; i < queue.length && n >= queue[i].buffer.length; i++) {
      n -= queue[i].buffer.length;
      if (queue[i].done) nextTick(queue[i].done);
    }
    if (i > 0) queue.splice(0, i);
    if (n > 0) queue[0].buffer = queue[0].buffer.subarray(n);
  }
}

function header(length, kind, flags, lo, hi) {
  outWords[0] = length;
  outWords[1] = kind | (flags << 8);
  outWords[2] = lo;
  outWords[3] = hi;
}

// ---- Answers of invocations that run beside each other go out together: when none is under way any more, or else when all that
// has come in was dealt with. What is small may wait that long; logs never do.

let batch; // undefined where invocations come one at a time
let batched = 0; // bytes of it
let sending = false; // sendBatch is due

function sendBatch() {
  sending = false;
  const n = batched;
  batched = 0;
  if (n > 0) send(batch, n, false);
}

function addToBatch(kind, flags, lo, hi, text) {
  if (batched + HEADER + text.length * 3 > batch.length) sendBatch();
  const n = batch.write(text, batched + HEADER, 'utf8');
  header(n, kind, flags, lo, hi);
  out.copy(batch, batched, 0, HEADER);
  batched += HEADER + n;
  if (inFlight <= 1) {
    sendBatch();
  } else if (!sending) {
    sending = true;
    setImmediate(sendBatch);
  }
}

// frame sends a frame whose body is text.
function frame(kind, flags, lo, hi, text) {
  if (batch !== undefined && kind !== LOG && text.length * 3 <= MAX_BATCHED) {
    addToBatch(kind, flags, lo, hi, text);
    return;
  }
  if (text.length * 3 <= out.length - HEADER) {
    const n = out.write(text, HEADER, 'utf8');
    header(n, kind, flags, lo, hi);
    send(out, HEADER + n, false);
    return;
  }
  const n = byteLength(text);
  const big = allocUnsafe(HEADER + n);
  header(n, kind, flags, lo, hi);
  out.copy(big, 0, 0, HEADER);
  big.write(text, HEADER, 'utf8');
  if (kind === LOG && n > MAX_LOG) {
    pieces(big, lo, hi);
    return;
  }
  send(big, big.length, true);
}

// pieces sends a long log message in several frames, none of which ends inside a character.
function pieces(big, lo, hi) {
  for (let start = HEADER; start < big.length; ) {
    let end = Math.min(start + MAX_LOG, big.length);
    while (end < big.length && (big[end] & 0xc0) === 0x80) end--;
    const piece = allocUnsafe(HEADER + end - start);
    header(end - start, LOG, 0, lo, hi);
    out.copy(piece, 0, 0, HEADER);
    big.copy(piece, HEADER, start, end);
    send(piece, piece.length, true);
    start = end;
  }
}

// ---- Errors, in Lambda's words.

function runtimeError(name, message) {
  const err = new Error(message);
  Object.defineProperty(err, 'name', { value: 'Runtime.' + name });
  Error.captureStackTrace(err, runtimeError);
  return err;
}

function errorJSON(err) {
  try {
    if (err instanceof Error || (err && typeof err.name === 'string' && typeof err.message === 'string' && typeof err.stack === 'string')) {
      return stringify({ errorType: err.name, errorMessage: err.message, trace: String(err.stack).split('\n') });
    }
    return stringify({ errorType: typeof err, errorMessage: String(err), trace: [] });
  } catch {
    return '{"errorType":"handled","errorMessage":"callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack"}';
  }
}

// logError writes an error to the log as Lambda does: with its own enumerable properties and its stack as lines.
function logError(title, err) {
  if (!(err instanceof Error)) err = new Error(err);
  if (json) {
    log('ERROR', [err]);
    return;
  }
  let text;
  try {
    text = stringify(err, (_, v) => {
      if (!(v instanceof Error)) return v;
      const o = Object.assign({ errorType: v.name, errorMessage: v.message, code: v.code }, v);
      if (typeof v.stack === 'string') o.stack = v.stack.split('\n');
      return o;
    });
  } catch {
    text = errorJSON(err);
  }
  log('ERROR', [title + ' \t' + text]);
}

// ---- Logging.

let current; // the invocation that began last; its id stands in log lines even after its end, as on Lambda
let storage; // tells invocations apart where they run beside each other; what is stored is described at InvokeStore
let json = false; // the log's format
let least = 0; // index in LEVELS of what is logged
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];

function log(level, args) {
  if (LEVELS.indexOf(level) < least) return;
  const inv = storage === undefined ? current : owner();
  const time = new Date().toISOString();
  const text = json ? jsonLine(time, inv && inv.id, level, args) : `${time}\t${inv && inv.id}\t${level}\t${format(...args)}`;
  if (inv) frame(LOG, 0, inv.lo, inv.hi, text);
  else frame(LOG, 0, 0, 0, text);
}

function describe(err) {
  return {
    errorType: (err.constructor && err.constructor.name) || 'UnknownError',
    errorMessage: err.message,
    stackTrace: typeof err.stack === 'string' ? err.stack.split('\n') : err.stack,
  };
}

// jsonLine is a line in Lambda's JSON format: a single argument as it is, several as text with the first error beside it.
function jsonLine(timestamp, requestId, level, args) {
  const line = { timestamp, level, requestId };
  if (args.length < 2) {
    line.message = args[0];
    try {
      return stringify(line, (_, v) => (v instanceof Error ? Object.assign(describe(v), v) : v));
    } catch {
      line.message = format(args[0]);
      return stringify(line);
    }
  }
  line.message = format(...args);
  const err = args.find((arg) => arg instanceof Error);
  return stringify(err ? Object.assign(line, describe(err)) : line);
}

function setUpConsole() {
  json = String(process.env.AWS_LAMBDA_LOG_FORMAT).toUpperCase() === 'JSON';
  least = Math.max(LEVELS.indexOf(String(process.env.AWS_LAMBDA_LOG_LEVEL).toUpperCase()), 0);
  for (const level of LEVELS) console[level.toLowerCase()] = (...args) => log(level, args);
  console.log = console.info;
}

// ---- Invocations.

let handler;
let streaming = false;
let highWaterMark; // of response streams
let mustSettle = false; // the handler is an async function: it is an error when its answer never comes
let modern = false; // Node.js 24 and newer have no callbacks
let env; // what the context takes from the environment
let trace; // of the invocation that began last, where they come one at a time
let inFlight = 0;
let streams = 0; // of them, those that stream
let stopping = false;
const open = new Set(); // invocations that have not been answered

// Invocation is one event on its way. Its answer is sent once; whatever comes later is ignored.
class Invocation {
  constructor(lo, hi, id, deadline) {
    this.lo = lo;
    this.hi = hi;
    this.id = id;
    this.deadline = deadline;
    this.done = false; // answered
    this.decided = false; // the handler has given its answer, which may still wait for the event loop to run dry
    this.waits = true; // context.callbackWaitsForEmptyEventLoop
    this.value = undefined; // the answer to send when the event loop is dry
    this.stream = undefined;
  }

  settle() {
    if (this.done) return false;
    this.done = this.decided = true;
    open.delete(this);
    if (this.stream) streams--;
    return true;
  }

  // finish comes after the answer was sent.
  finish() {
    if (--inFlight > 0) return;
    hold();
    if (stopping) exit(0);
  }

  succeed(value) {
    if (this.done) return;
    let text;
    try {
      text = stringify(value);
    } catch (err) {
      this.fail(runtimeError('MarshalError', 'Unable to stringify response body: ' + (err && err.message)));
      return;
    }
    if (text === undefined) text = 'null';
    if (text.length * 3 > MAX_ANSWER && byteLength(text) > MAX_ANSWER) {
      const err = new Error(`Response payload size exceeded maximum allowed payload size (${MAX_ANSWER} bytes).`);
      err.name = 'Function.ResponseSizeTooLarge';
      this.fail(err);
      return;
    }
    if (!this.settle()) return;
    frame(RESULT, 0, this.lo, this.hi, text);
    this.finish();
  }

  fail(err) {
    if (this.done) return;
    logError('Invoke Error', err);
    this.abort(err, 0);
  }

  abort(err, flags) {
    if (!this.settle()) return;
    const begun = this.stream && this.stream.begun;
    frame(begun ? END : ERROR, begun ? F_ERROR | flags : flags, this.lo, this.hi, errorJSON(err));
    if (this.stream) this.stream.destroy();
    this.finish();
  }

  // answer is what context.done and the callback do; only the first call counts.
  answer(err, value, waits) {
    if (this.decided) return;
    this.decided = true;
    if (err !== undefined && err !== null) this.fail(err);
    else if (waits) this.value = value;
    else this.succeed(value);
  }

  // dry is called when nothing is left that could go on with this invocation.
  dry() {
    if (this.stream) {
      this.fail(this.stream.settled ? new Error('Response stream is not finished.') : runtimeError('NodeJsExit', NEVER_SETTLED));
    } else if (!this.decided && mustSettle) {
      this.fail(runtimeError('NodeJsExit', NEVER_SETTLED));
    } else if (this.decided) {
      this.succeed(this.value);
    } else {
      // Lambda answers null. A value that can only have been meant as the answer (not a timer, not a request) is taken for it.
      const kind = this.value && typeof this.value === 'object' ? Object.getPrototypeOf(this.value) : null;
      this.succeed(kind === null || kind === Object.prototype || kind === Array.prototype ? this.value : null);
    }
  }

  context() {
    const inv = this;
    const context = {
      get callbackWaitsForEmptyEventLoop() { return inv.waits; },
      set callbackWaitsForEmptyEventLoop(value) { inv.waits = value; },
    };
    if (!streaming && !modern) {
      context.succeed = (value) => inv.answer(null, value, false);
      context.fail = (err) => inv.answer(err === undefined || err === null ? 'handled' : err, null, false);
      context.done = (err, value) => inv.answer(err, value, false);
    }
    context.functionVersion = env.version;
    context.functionName = env.name;
    context.memoryLimitInMB = env.memory;
    context.logGroupName = env.group;
    context.logStreamName = env.stream;
    return context;
  }
}

// The trace stands behind the environment, not in it: the C library keeps every value that a variable ever had, and takes longer
// with each. So it is found by its name, and copies of process.env and child processes do not have it.
const TRACE = '_X_AMZN_TRACE_ID';
Object.defineProperty(Object.getPrototypeOf(process.env), TRACE, { get: () => trace, enumerable: true, configurable: true });

function setTrace(value) {
  trace = value;
  if (process.env[TRACE] === value) return;
  delete process.env[TRACE]; // the program has set it
  if (process.env[TRACE] !== value) process.env[TRACE] = value; // it has made itself another process.env
}

process.on('beforeExit', () => {
  if (loading) initFailed(runtimeError('NodeJsExit', NEVER_SETTLED));
  for (const inv of open) inv.dry();
});

function optionalJSON(text, name) {
  if (text === '') return undefined;
  try {
    return parse(text);
  } catch (err) {
    throw new Error(`Cannot parse ${name} as json: ${err}`);
  }
}

// invoke runs the handler. It is called from a tick of its own, so that what the handler does to its asynchronous context stays there.
function invoke(inv, arn, clientContext, identity, event) {
  try {
    const context = inv.context();
    context.clientContext = optionalJSON(clientContext, 'ClientContext');
    context.identity = optionalJSON(identity, 'CognitoIdentity');
    context.invokedFunctionArn = arn;
    context.awsRequestId = inv.id;
    if (storage !== undefined) context.xRayTraceId = storage.getStore()[TRACE_ID];
    context.getRemainingTimeInMillis = () => inv.deadline - Date.now();
    event = parse(event);
    if (streaming) {
      invokeStreaming(inv, event, context);
      return;
    }
    const value = modern ? handler(event, context) : handler(event, context, (err, result) => inv.answer(err, result, inv.waits));
    if (value && typeof value.then === 'function') {
      value.then((v) => inv.answer(null, v, false), (err) => inv.answer(err === undefined || err === null ? 'handled' : err, null, false));
    } else if (modern || (value !== undefined && handler.length < 2)) {
      inv.answer(null, value, false);
    } else if (!inv.decided) {
      inv.value = value; // it may have been meant as the answer; a call of context.succeed or of the callback still decides
    }
  } catch (err) {
    inv.answer(err === undefined || err === null ? 'handled' : err, null, false);
  }
}

function invokeStreaming(inv, event, context) {
  streams++;
  inv.stream = new ResponseStream(inv);
  const value = handler(event, inv.stream, context);
  if (!value || typeof value.then !== 'function') {
    inv.fail(runtimeError('MalformedStreamingHandler', 'Streaming does not support non-async handlers.'));
    return;
  }
  value.then((v) => {
    if (v !== undefined) console.warn('Streaming handlers ignore return values.');
    inv.stream.settled = true;
    inv.stream.complete();
  }, (err) => inv.fail(err));
}

let ResponseStream; // made when a function streams: what it needs takes long to load

// makeResponseStream makes the class of what a streaming handler writes to. Each write becomes CHUNK frames; a slow reader holds the
// writer back.
function makeResponseStream({ Writable }) {
  return class ResponseStream extends Writable {
    constructor(inv) {
      super({ highWaterMark });
      this.inv = inv;
      this.contentType = 'application/octet-stream';
      this.begun = false; // RESULT has been sent
      this.settled = false; // the handler has returned
      this.flushed = false; // the stream was ended and all of it was written
      this.credit = storage === undefined ? Infinity : CREDIT; // bytes that may be sent; Infinity: the socket alone limits them
      this.waiting = undefined; // a write that has run out of credit
      this.on('error', () => {}); // after a failure the answer is lost, but not the process
    }

    setContentType(type) {
      if (this.begun) throw runtimeError('InvalidStreamingOperation', 'Cannot set content-type, too late.');
      this.contentType = String(type);
    }

    write(chunk, encoding, done) {
      if (typeof chunk !== 'string' && !isBuffer(chunk) && !(chunk instanceof Uint8Array)) chunk = stringify(chunk);
      return super.write(chunk, encoding, done);
    }

    // begin queues what comes before the first bytes: the content type and, for HTTP, the prelude.
    begin() {
      if (this.begun) return;
      const frames = [this.frame(RESULT, F_STREAM, bufferFrom(this.contentType))];
      let size = 0;
      if (typeof this._onBeforeFirstWrite === 'function') {
        this._onBeforeFirstWrite((part) => {
          part = bufferFrom(part);
          size += part.length;
          frames.push(this.frame(CHUNK, 0, part));
        });
      }
      if (size > this.credit) {
        this.inv.fail(runtimeError('InvalidStreamingOperation', `The prelude of the response has ${size} bytes.`));
        return;
      }
      this.begun = true;
      this.credit -= size;
      push(Buffer.concat(frames), undefined);
    }

    frame(kind, flags, body) {
      const b = allocUnsafe(HEADER + body.length);
      header(body.length, kind, flags, this.inv.lo, this.inv.hi);
      out.copy(b, 0, 0, HEADER);
      body.copy(b, HEADER);
      return b;
    }

    _write(chunk, encoding, done) {
      if (this.inv.done) {
        done(new Error('The invocation has ended.'));
        return;
      }
      this.begin();
      if (this.inv.done) return;
      this.waiting = { chunk, done };
      this.pump();
    }

    pump() {
      const w = this.waiting;
      if (!w) return;
      while (w.chunk.length > 0 && this.credit > 0) {
        const n = Math.min(w.chunk.length, this.credit, MAX_CHUNK);
        this.credit -= n;
        const last = n === w.chunk.length;
        push(this.frame(CHUNK, 0, w.chunk.subarray(0, n)), last ? w.done : undefined);
        w.chunk = w.chunk.subarray(n);
      }
      if (w.chunk.length === 0) this.waiting = undefined;
      else hold(); // credit comes from the server: the event loop is not dry
      writeQueue();
    }

    grant(bytes) {
      this.credit = this.credit === Infinity ? bytes : this.credit + bytes;
      this.pump();
      if (!this.waiting) unref();
    }

    _final(done) {
      this.flushed = true;
      done();
      this.complete();
    }

    // complete ends the answer when the handler has returned and its stream has ended.
    complete() {
      if (!this.settled || !this.flushed || this.inv.done) return;
      this.begin();
      if (!this.inv.settle()) return;
      push(this.frame(END, 0, allocUnsafe(0)), undefined);
      writeQueue();
      this.inv.finish();
    }
  };
}

// ---- Loading the handler, as Lambda's runtime does.

let loading = false;

function initFailed(err) {
  loading = false;
  logError('Uncaught Exception', err);
  frame(ERROR, F_INIT | F_FATAL, 0, 0, errorJSON(err));
  exit(129);
}

// isModule tells whether .js files in a folder are ES modules: the nearest package.json says so.
function isModule(folder) {
  for (; !folder.endsWith('/node_modules'); folder = path.dirname(folder)) {
    const file = path.join(folder, 'package.json');
    if (fs.existsSync(file)) {
      try {
        return parse(fs.readFileSync(file, 'utf8')).type === 'module';
      } catch (err) {
        console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, err);
        return false;
      }
    }
    if (folder === '/') break;
  }
  return false;
}

function loadModule(root, folder, name) {
  const base = path.resolve(root, folder, name);
  if (fs.existsSync(base)) return require(base);
  const esm = isModule(path.dirname(base));
  const extensions = ['.js', '.mjs', '.cjs'];
  if (process.features.typescript) extensions.push('.ts', '.mts', '.cts');
  for (const extension of extensions) {
    const file = base + extension;
    if (!fs.existsSync(file)) continue;
    if (fs.existsSync(file + '.map')) process.setSourceMapsEnabled(true); // stack traces are in the source's lines
    if (extension[1] === 'm' || (esm && extension[1] !== 'c')) return import(require('url').pathToFileURL(file).href);
    return require(file);
  }
  return require(require.resolve(name, { paths: [root, path.resolve(root, folder)] }));
}

async function load(root, handlerName) {
  if (handlerName.includes('..')) {
    throw runtimeError('MalformedHandlerName', `'${handlerName}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const base = path.basename(handlerName);
  const folder = handlerName.substring(0, handlerName.indexOf(base));
  const dot = base.indexOf('.');
  if (dot < 0) throw runtimeError('MalformedHandlerName', 'Bad handler');
  let found;
  try {
    found = await loadModule(root, folder, base.slice(0, dot));
  } catch (err) {
    if (err instanceof SyntaxError) {
      const e = runtimeError('UserCodeSyntaxError', String(err));
      e.stack = `${e.name}: ${e.message}\n${err.stack}`; // which says where
      throw e;
    }
    if (err && err.code === 'MODULE_NOT_FOUND') throw runtimeError('ImportModuleError', String(err));
    throw err;
  }
  for (const key of base.slice(dot + 1).split('.')) found = found && found[key];
  if (!found) throw runtimeError('HandlerNotFound', `${handlerName} is undefined or not exported`);
  if (typeof found !== 'function') throw runtimeError('HandlerNotFound', `${handlerName} is not a function`);
  return found;
}

async function init(handlerName, root) {
  loading = true;
  release();
  try {
    process.chdir(root);
    const e = process.env;
    const wanted = /nodejs(\d+)/.exec(e.AWS_EXECUTION_ENV || '');
    modern = Number(wanted ? wanted[1] : process.versions.node.split('.')[0]) >= 24;
    if (Number(e.AWS_LAMBDA_MAX_CONCURRENCY) > 1) runBeside();
    env = {
      name: e.AWS_LAMBDA_FUNCTION_NAME, version: e.AWS_LAMBDA_FUNCTION_VERSION, memory: e.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      group: e.AWS_LAMBDA_LOG_GROUP_NAME, stream: e.AWS_LAMBDA_LOG_STREAM_NAME,
    };
    const found = await load(root, handlerName);
    const mode = found[STREAMING];
    if (mode !== undefined && mode !== null && mode !== false) {
      if (mode !== 'response') throw runtimeError('MalformedStreamingHandler', 'Only response streaming is supported.');
      streaming = true;
      ResponseStream = makeResponseStream(builtin('stream'));
      highWaterMark = parseInt(found[HIGH_WATER_MARK]) || undefined;
    }
    if (modern && !streaming && found.length >= 3) throw runtimeError('CallbackHandlerDeprecated', NO_CALLBACKS);
    if (storage !== undefined) {
      if (!streaming && found.length >= 3) throw runtimeError('CallbackHandlerDeprecated', NO_CALLBACKS_BESIDE);
      modern = true;
    }
    mustSettle = modern || Object.prototype.toString.call(found) === '[object AsyncFunction]';
    handler = found;
  } catch (err) {
    initFailed(err);
    return;
  }
  loading = false;
  hold();
  frame(READY, F_INIT, 0, 0, '');
  if (socket === undefined) setImmediate(readFirst);
}

// ---- Invocations that run beside each other. What belongs to one of them is found by asynchronous context: by log, and by the
// program with awslambda.InvokeStore, which has the methods of AWS's package @aws/lambda-invoke-store; its SDK finds the trace there.

const REQUEST_ID = Symbol.for('_AWS_LAMBDA_REQUEST_ID'), TRACE_ID = Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID');
const TENANT_ID = Symbol.for('_AWS_LAMBDA_TENANT_ID'), INVOCATION = Symbol('invocation');
const [PARENT, STATE, BAGGAGE] = ['TRACEPARENT', 'TRACESTATE', 'BAGGAGE'].map((name) => Symbol.for('_AWS_LAMBDA_' + name));
const PROTECTED = [REQUEST_ID, TRACE_ID, TENANT_ID, PARENT, STATE, BAGGAGE];

function runBeside() {
  storage = new (require('async_hooks').AsyncLocalStorage)();
  batch = allocUnsafeSlow(64 * 1024);
  delete process.env[TRACE]; // there is no one trace
  delete Object.getPrototypeOf(process.env)[TRACE];
  const get = (key) => { const store = storage.getStore(); return store && store[key]; };
  globalThis.awslambda.InvokeStore = {
    getContext: () => storage.getStore(),
    hasContext: () => storage.getStore() !== undefined,
    get,
    set(key, value) {
      if (PROTECTED.includes(key)) throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
      const store = storage.getStore();
      if (!store) throw new Error('No context available');
      store[key] = value;
    },
    run: (context, f) => storage.run(Object.assign({ [INVOCATION]: get(INVOCATION) }, context), f),
    isProtectedKey: (key) => PROTECTED.includes(key),
    getRequestId: () => get(REQUEST_ID) ?? '-',
    getXRayTraceId: () => get(TRACE_ID),
    getTenantId: () => get(TENANT_ID),
    getTraceparent: () => get(PARENT),
    getTracestate: () => get(STATE),
    getBaggage: () => get(BAGGAGE),
  };
}

// owner is the invocation to which what runs now belongs; undefined when it was begun by none.
function owner() {
  const store = storage.getStore();
  return store && store[INVOCATION];
}

function invokeBeside(inv, traceID, arn, clientContext, identity, event) {
  const store = { [REQUEST_ID]: inv.id, [TRACE_ID]: traceID === '' ? undefined : traceID, [INVOCATION]: inv };
  storage.run(store, invoke, inv, arn, clientContext, identity, event);
}

globalThis.awslambda = {
  streamifyResponse(handler, options) {
    handler[STREAMING] = 'response';
    if (options && typeof options.highWaterMark === 'number') handler[HIGH_WATER_MARK] = parseInt(options.highWaterMark);
    return handler;
  },
  HttpResponseStream: class HttpResponseStream {
    static from(stream, prelude) {
      stream.setContentType(HTTP_STREAM);
      const text = stringify(prelude);
      stream._onBeforeFirstWrite = (write) => {
        write(text);
        write(new Uint8Array(8));
      };
      return stream;
    }
  },
};

// ---- Errors that nobody catches end the process; what was under way gets them as its answer.

function fatal(title, err, code) {
  logError(title, err);
  if (loading) frame(ERROR, F_INIT | F_FATAL, 0, 0, errorJSON(err));
  for (const inv of open) inv.abort(err, F_FATAL);
  exit(code);
}

process.on('uncaughtException', (err) => fatal('Uncaught Exception', err, 129));
process.on('unhandledRejection', (reason, promise) => {
  const err = runtimeError('UnhandledPromiseRejection', String(reason));
  fatal('Unhandled Promise Rejection', Object.assign(err, { reason, promise }), 128);
});
process.on('exit', () => {
  if (gone) return;
  sendBatch();
  drain(2000);
});

// ---- Reading. A frame that came in whole is read where it lies; one that did not is put together first.

let pending; // a frame of which a part has come in
let have = 0; // bytes of it
const partHeader = allocUnsafeSlow(HEADER);

function received(n, buf) {
  let at = 0;
  while (at < n) {
    if (pending === undefined && n - at >= HEADER) {
      const size = HEADER + buf.readUInt32LE(at);
      if (n - at >= size) {
        dispatch(buf, at, at + size);
        at += size;
        continue;
      }
      pending = allocUnsafeSlow(size);
      have = 0;
    } else if (pending === undefined) {
      pending = partHeader;
      have = 0;
    }
    const k = Math.min(pending.length - have, n - at);
    buf.copy(pending, have, at, at + k);
    have += k;
    at += k;
    if (have < pending.length) break;
    if (pending === partHeader) {
      const size = HEADER + partHeader.readUInt32LE(0);
      pending = allocUnsafeSlow(size);
      partHeader.copy(pending, 0);
      if (size > HEADER) continue;
    }
    const whole = pending;
    pending = undefined;
    dispatch(whole, 0, whole.length);
  }
  return true;
}

let at = 0; // where the next string begins

function text(buf) {
  const start = at + 4;
  at = start + buf.readUInt32LE(at);
  return at === start ? '' : buf.utf8Slice(start, at);
}

function dispatch(buf, start, end) {
  const lo = buf.readUInt32LE(start + 8), hi = buf.readUInt32LE(start + 12);
  at = start + HEADER;
  switch (buf[start + 4]) {
    case INVOKE: {
      const deadline = buf.readUInt32LE(at) + buf.readInt32LE(at + 4) * 0x100000000;
      at += 8;
      const inv = new Invocation(lo, hi, text(buf), deadline);
      const arn = text(buf), traceID = text(buf), clientContext = text(buf), identity = text(buf);
      const event = buf.utf8Slice(at, end);
      current = inv;
      open.add(inv);
      inFlight++;
      if (storage !== undefined) {
        nextTick(invokeBeside, inv, traceID, arn, clientContext, identity, event);
        return;
      }
      setTrace(traceID === '' ? undefined : traceID);
      unref();
      nextTick(invoke, inv, arn, clientContext, identity, event);
      return;
    }
    case INIT: {
      told = true;
      const handlerName = text(buf), root = text(buf);
      const before = process.env.NODE_PATH;
      let count = buf.readUInt32LE(at);
      at += 4;
      for (; count > 0; count--) {
        const name = text(buf);
        process.env[name] = text(buf);
      }
      setUpConsole();
      if (process.env.NODE_PATH !== before) require('module')._initPaths();
      nextTick(init, handlerName || process.env._HANDLER || '', root);
      return;
    }
    case CANCEL:
      for (const inv of open) {
        if (inv.lo === lo && inv.hi === hi && inv.settle()) inv.finish();
      }
      return;
    case WINDOW:
      for (const inv of open) {
        if (inv.lo === lo && inv.hi === hi && inv.stream) inv.stream.grant(buf.readUInt32LE(at));
      }
      return;
    case PING:
      frame(PING, 0, lo, hi, '');
      return;
    case STOP:
      stopping = true;
      if (inFlight === 0) exit(0);
  }
}

// unref lets an empty event loop show while an invocation runs alone; beside others it may wait for one that is yet to come.
function unref() {
  if (inFlight > 0 && storage === undefined) release();
}

let socket; // undefined until the modules that it takes are loaded: see readAhead
let held = true;

// hold keeps the process alive for what comes in, release does not.
function hold() {
  held = true;
  if (socket !== undefined) socket.ref();
}

function release() {
  held = false;
  if (socket !== undefined) socket.unref();
}

const input = allocUnsafeSlow(64 * 1024);

function connect() {
  if (socket !== undefined) return;
  const { Socket } = builtin('net');
  socket = new Socket({ fd: FD, readable: true, writable: false, onread: { buffer: input, callback: received } });
  socket.on('error', lost);
  socket.on('close', lost);
  if (!held) socket.unref();
}

// A function that is known when its runtime boots is told at once: INIT is there, and its first event comes as soon as it is loaded.
// readAhead reads these. The modules that a socket takes are loaded when the event is on its way, or when nothing comes.
let told = false; // INIT has come

function readAhead(done) {
  for (let tries = 0; tries < 20; tries++) {
    try {
      const n = readSync(FD, input);
      if (n === 0) lost();
      received(n, input);
    } catch (err) {
      if (err.code !== 'EAGAIN') lost();
      wait(sleeper, 0, 0, 0.05);
    }
    if (done() || gone) return;
  }
}

function readFirst() {
  if (nonBlocking()) readAhead(() => inFlight > 0); // else it would wait for an event that may not come
  setImmediate(connect);
}

function nonBlocking() {
  try {
    return (parseInt(/^flags:\s*([0-7]+)/m.exec(fs.readFileSync('/proc/self/fdinfo/' + FD, 'latin1'))[1], 8) & fs.constants.O_NONBLOCK) !== 0;
  } catch {
    return false; // not Linux
  }
}

const version = bufferFrom(process.version);
const ready = allocUnsafe(HEADER + 5 + version.length);
header(5 + version.length, READY, 0, 0, 0);
out.copy(ready, 0, 0, HEADER);
ready[HEADER] = PROTOCOL;
ready.writeUInt32LE(version.length, HEADER + 1);
version.copy(ready, HEADER + 5);
send(ready, ready.length, true);

// ---- A process that boots before its function is known, which its environment says, has the time to load and call a handler of its
// own, so that what the function needs has been loaded and compiled. Nothing of it shows later.

function rehearse() {
  const body = (kind, parts) => {
    const b = Buffer.concat([allocUnsafe(HEADER), ...parts]);
    b.fill(0, 0, HEADER);
    b[4] = kind;
    return b;
  };
  const string = (s) => {
    const b = allocUnsafe(4 + s.length);
    b.writeUInt32LE(s.length, 0);
    b.write(s, 4, 'latin1');
    return b;
  };
  const ask = (b) => dispatch(b, 0, b.length);
  const { env: variables } = process;
  const cwd = process.cwd();
  // All of it runs before anything else is read: ticks and promises take turns until what was asked is done.
  const until = (done, then, left = 1000) => {
    if (done()) then();
    else if (left > 0) queueMicrotask(() => nextTick(until, done, then, left - 1));
    else exit(1);
  };
  rehearsing = true;
  ask(body(INIT, [string('rehearsal.handler'), string(__dirname), string('\x01\0\0\0').subarray(4), string('HANSOM_BLANK'), string('')]));
  until(() => handler !== undefined, () => {
    ask(body(INVOKE, [Buffer.alloc(8 + 5 * 4), bufferFrom('{}')]));
    until(() => inFlight === 0, () => {
      log('INFO', ['']);
      delete variables.HANSOM_BLANK;
      const { cache } = require, Module = require('module');
      for (const known of [cache, Module._pathCache || {}]) {
        for (const name of Object.keys(known)) if (name.includes('rehearsal')) delete known[name];
      }
      module.children.length = 0;
      process.chdir(cwd);
      handler = current = env = trace = undefined;
      streaming = mustSettle = modern = rehearsing = false;
    });
  });
}

if (process.env.HANSOM_BLANK) {
  connect();
  rehearse();
} else {
  readAhead(() => told);
  if (told) setTimeout(connect, 50).unref(); // else nothing would be read while it loads
  else connect();
}
