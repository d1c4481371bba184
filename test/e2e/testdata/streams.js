'use strict';
// Streams what the event asks for; bodies of function URLs name the action in the path.
const { once } = require('events');

const pause = 500; // milliseconds between two chunks

exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const action = event.action || event.rawPath.slice(1);
  if (event.rawPath) {
    stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'content-type': 'text/plain', 'x-a': 'b' }, cookies: ['k=v'] });
  }
  switch (action) {
    case 'two':
      stream.write('first\n');
      await new Promise((resolve) => setTimeout(resolve, pause));
      stream.write(String(Date.now() * 1000));
      break;
    case 'pour': // 64 chunks of 1 MB, each of which begins with the time when it was made
      for (let i = 0; i < 64; i++) {
        const chunk = Buffer.alloc(1 << 20, ' ');
        chunk.write(String(Date.now() * 1000));
        if (!stream.write(chunk)) await once(stream, 'drain');
      }
      break;
    case 'throw':
      throw new TypeError('before the first chunk');
    case 'break':
      stream.write('first\n');
      await new Promise((resolve) => setTimeout(resolve, pause));
      throw new TypeError('in the middle');
    case 'exit':
      stream.write('first\n');
      await new Promise((resolve) => setTimeout(resolve, pause));
      process.exit(3);
    case 'who':
      stream.write(JSON.stringify(event.requestContext.authorizer.iam));
      break;
    case 'body':
      stream.write(event.isBase64Encoded ? Buffer.from(event.body, 'base64') : event.body);
      break;
  }
  stream.end();
});
