// A plain Node.js server: no framework, no SDK.
const http = require('http');
const crypto = require('crypto');

let calls = 0, hanging = 0;
let waiting = [];

const server = http.createServer((req, res) => {
  const url = new URL(req.url, 'http://x');
  calls++;
  switch (url.pathname) {
    case '/': { // a CloudEvent
      const parts = [];
      req.on('data', (p) => parts.push(p));
      req.on('end', () => {
        const event = JSON.parse(Buffer.concat(parts));
        if (event.status) {
          res.statusCode = event.status;
          return res.end('refused');
        }
        if (event.exit) process.exit(event.exit);
        if (event.binary) return res.end(Buffer.from([0, 255, 1, 254]));
        console.log('event', req.headers['ce-id']);
        res.setHeader('content-type', 'application/json');
        res.end(JSON.stringify({ event, headers: req.headers, method: req.method }));
      });
      return;
    }
    case '/echo': {
      res.setHeader('content-type', 'application/json');
      res.end(JSON.stringify({ method: req.method, url: req.url, headers: req.rawHeaders, calls, hanging }));
      return;
    }
    case '/count': // of bytes
      let n = 0;
      req.on('data', (p) => (n += p.length));
      req.on('end', () => res.end(String(n)));
      return;
    case '/zeros': {
      let left = Number(url.searchParams.get('n'));
      const chunk = Buffer.alloc(64 << 10);
      const more = () => {
        while (left > 0) {
          const size = Math.min(left, chunk.length);
          left -= size;
          if (!res.write(chunk.subarray(0, size))) return res.once('drain', more);
        }
        res.end();
      };
      more();
      return;
    }
    case '/events': // one a request to /tick
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write('data: hello\n\n');
      waiting.push(res);
      req.on('close', () => console.log('client gone'));
      return;
    case '/tick':
      for (const r of waiting) r.write('data: tick\n\n');
      res.end(String(waiting.length));
      return;
    case '/exit':
      process.exit(3);
    case '/hang':
      hanging++;
      return;
    case '/early':
      res.writeProcessing();
      res.writeEarlyHints({ link: '</a.css>; rel=preload' });
      res.setHeader('trailer', 'x-sum');
      res.write('body');
      res.addTrailers({ 'x-sum': 'abc' });
      res.end();
      return;
    case '/destroy':
      req.socket.destroy();
      return;
    case '/env':
      res.end(JSON.stringify(process.env));
      return;
    default:
      res.statusCode = 404;
      res.setHeader('x-path', req.url);
      res.end('not here');
  }
});

server.on('upgrade', (req, socket) => {
  if (req.headers.upgrade !== 'websocket') {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ' + req.headers.upgrade + '\r\n\r\n');
    socket.pipe(socket);
    return;
  }
  // RFC 6455: the handshake, then echo frames of less than 126 bytes.
  const accept = crypto.createHash('sha1').update(req.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ' + accept + '\r\n\r\n');
  let buf = Buffer.alloc(0);
  socket.on('close', () => console.log('socket closed'));
  socket.on('error', () => {});
  socket.on('data', (p) => {
    buf = Buffer.concat([buf, p]);
    while (buf.length >= 6 && buf.length >= 6 + (buf[1] & 127)) {
      const n = buf[1] & 127, mask = buf.subarray(2, 6), data = Buffer.from(buf.subarray(6, 6 + n));
      for (let i = 0; i < n; i++) data[i] ^= mask[i % 4];
      socket.write(Buffer.concat([Buffer.from([buf[0], n]), data]));
      if ((buf[0] & 15) === 8) socket.end();
      buf = buf.subarray(6 + n);
    }
  });
});

server.listen(process.env.PORT, '127.0.0.1', () => console.log('listening'));
