// The API of the guestbook: signs guests in, takes their entries and streams them to the pages that are open.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';

const { ISSUER, AUDIENCE, STREAM_SECONDS, PORT } = process.env;
const tokenLife = 15 * 60; // seconds
const keep = 100; // entries

// The key lives as long as this process. Who has a token of an earlier one signs in again.
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const kid = randomUUID();
const keys = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'EdDSA', use: 'sig' }] };

const entries = []; // the latest ones, the oldest first
const readers = new Set(); // answers that are streams

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function issue(name) {
  const now = Math.floor(Date.now() / 1000);
  const head = encode({ alg: 'EdDSA', typ: 'JWT', kid });
  const claims = encode({ iss: ISSUER, aud: AUDIENCE, sub: randomUUID(), name, iat: now, exp: now + tokenLife });
  const signature = sign(null, Buffer.from(`${head}.${claims}`), privateKey).toString('base64url');
  return `${head}.${claims}.${signature}`;
}

// The gateway lets nobody through to POST /entries whose token it has not verified; here it is only read.
function guest(request) {
  const token = request.headers.authorization.replace(/^Bearer /i, '');
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).name;
}

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function body(request) {
  let text = '';
  request.setEncoding('utf8');
  for await (const part of request) {
    text += part;
    if (text.length > 10_000) throw new Refusal(413, 'That is too much.');
  }
  try {
    return JSON.parse(text) ?? {};
  } catch {
    throw new Refusal(400, 'The body is not JSON.');
  }
}

// What somebody wrote, without the blanks around it, of 1 to max characters.
function written(what, value, max) {
  const text = typeof value === 'string' ? value.replace(/[^\P{Cc}\n]/gu, '').trim() : '';
  if (!text || [...text].length > max) throw new Refusal(400, `${what} has 1 to ${max} characters.`);
  return text;
}

const message = (type, id, data) => `event: ${type}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;

// A page that connects gets all entries; one that comes back, those after the last one that it has seen.
function stream(request, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  const seen = entries.findIndex((entry) => entry.id === request.headers['last-event-id']);
  response.write('retry: 500\n\n');
  if (seen < 0) response.write(message('start', entries.at(-1)?.id ?? '', entries));
  else for (const entry of entries.slice(seen + 1)) response.write(message('entry', entry.id, entry));
  readers.add(response);
  const beat = setInterval(() => response.write(': still here\n\n'), 15_000);
  const end = setTimeout(() => response.end(), STREAM_SECONDS * 1000); // the page connects again, to the code that is live by then
  response.on('close', () => {
    readers.delete(response);
    clearInterval(beat);
    clearTimeout(end);
  });
}

const routes = {
  'GET /keys': () => keys,
  'GET /entries': stream,
  'POST /session': async (request) => {
    const name = written('A name', (await body(request)).name, 40).replace(/\s+/g, ' ');
    return { name, token: issue(name), expires: tokenLife };
  },
  'POST /entries': async (request) => {
    const text = written('An entry', (await body(request)).text, 280);
    const entry = { id: randomUUID(), name: guest(request), text, time: new Date().toISOString() };
    entries.push(entry);
    if (entries.length > keep) entries.shift();
    for (const reader of readers) reader.write(message('entry', entry.id, entry));
    return entry;
  },
};

function answer(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(value));
}

const server = createServer(async (request, response) => {
  try {
    const route = routes[`${request.method} ${request.url.split('?')[0]}`];
    if (!route) throw new Refusal(404, 'There is nothing here.');
    const value = await route(request, response);
    if (value) answer(response, request.method === 'POST' ? 201 : 200, value);
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    if (response.headersSent) response.destroy();
    else answer(response, error.status ?? 500, { message: error instanceof Refusal ? error.message : 'Something went wrong here.' });
  }
});
server.listen(PORT, '127.0.0.1');

process.on('SIGTERM', () => {
  server.close();
  for (const reader of readers) reader.end();
});
