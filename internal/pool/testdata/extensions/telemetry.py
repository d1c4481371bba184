#!/usr/bin/python3
"""An external extension written against AWS's documentation: it subscribes to telemetry and prints what it got at SHUTDOWN."""
import http.client
import http.server
import json
import os
import sys
import threading

name = os.path.basename(sys.argv[0])
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
received = []


class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        received.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


def call(method, path, body=None, **headers):
    conn = http.client.HTTPConnection(api)
    conn.request(method, path, json.dumps(body) if body is not None else None, headers)
    resp = conn.getresponse()
    data = resp.read()
    if resp.status != 200:
        sys.exit("%s %s: %d %s" % (method, path, resp.status, data))
    return resp.headers, json.loads(data)


headers, answer = call("POST", "/2020-01-01/extension/register", {"events": ["INVOKE", "SHUTDOWN"]},
                       **{"Lambda-Extension-Name": name, "Lambda-Extension-Accept-Feature": "accountId"})
identifier = headers["Lambda-Extension-Identifier"]
print("registered", json.dumps(answer, sort_keys=True), flush=True)
server = http.server.ThreadingHTTPServer(("sandbox.localdomain", 4243), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
call("PUT", "/2022-07-01/telemetry", {
    "schemaVersion": "2022-12-13", "types": ["platform", "function", "extension"], "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"}}, **{"Lambda-Extension-Identifier": identifier})
while True:
    _, event = call("GET", "/2020-01-01/extension/event/next", **{"Lambda-Extension-Identifier": identifier})
    print("event", event["eventType"], event.get("requestId", event.get("shutdownReason")), flush=True)
    if event["eventType"] == "SHUTDOWN":
        for e in list(received):
            print("telemetry", json.dumps(e, sort_keys=True), flush=True)
        print("flushed", flush=True)
        break
