const instance = Math.random().toString(36);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let crowd = [];
let hanging; // context of the call that never ends

exports.handler = async (event, context) => {
  switch (event.do) {
    case 'together': // answers when as many are here
      console.log(`begin ${event.n}`);
      await new Promise((resolve) => {
        crowd.push(resolve);
        if (crowd.length === event.of) crowd = crowd.forEach((r) => r()) || [];
      });
      await sleep(Math.random() * 20);
      console.log(`end ${event.n}`);
      return { instance, n: event.n, trace: context.xRayTraceId === awslambda.InvokeStore.getXRayTraceId() };
    case 'hang':
      hanging = context;
      return new Promise(() => {});
    case 'left': // of the time that it has
      return hanging ? hanging.getRemainingTimeInMillis() : null;
    case 'outlive':
      while (hanging.getRemainingTimeInMillis() > -100) await sleep(10);
      return { instance };
    case 'exit':
      process.exit(3);
  }
  return { instance };
};

exports.stream = awslambda.streamifyResponse(async (event, stream) => {
  const n = Number((event.queryStringParameters || {}).bytes || 0);
  const http = awslambda.HttpResponseStream.from(stream, { headers: { instance } });
  for (let sent = 0; sent < n; sent += 65536) {
    if (!http.write(Buffer.alloc(65536, 'x'))) await new Promise((resolve) => http.once('drain', resolve));
  }
  http.end('end');
});
