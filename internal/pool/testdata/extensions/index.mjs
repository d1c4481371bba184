// A function with an internal extension.
import fs from "node:fs";
import http from "node:http";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const events = [];

function call(method, path, headers, body) {
  return new Promise((resolve, reject) => {
    const req = http.request({ host, port, method, path: "/2020-01-01/extension/" + path, headers, agent: false }, (res) => {
      let data = "";
      res.on("data", (d) => (data += d));
      res.on("end", () => (res.statusCode === 200 ? resolve({ headers: res.headers, body: JSON.parse(data) }) : reject(new Error(data))));
    });
    req.on("error", reject);
    req.end(body);
  });
}

if (process.env.INTERNAL) {
  const { headers } = await call("POST", "register", { "Lambda-Extension-Name": "inner" }, '{"events":["INVOKE"]}');
  const id = headers["lambda-extension-identifier"];
  (async () => {
    for (;;) {
      const { body } = await call("GET", "event/next", { "Lambda-Extension-Identifier": id });
      events.push(body.requestId);
    }
  })().catch(() => {});
}
process.on("SIGTERM", () => {
  fs.writeSync(1, "node saw SIGTERM\n");
  process.exit(0);
});

export const handler = async (event, context) => {
  console.log("handling");
  if (event.exit) process.exit(event.exit);
  if (event.hang) await new Promise(() => setInterval(() => {}, 1000));
  return { events, request: context.awsRequestId };
};
