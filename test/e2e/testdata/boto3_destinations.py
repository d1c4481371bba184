"""Drives connections and API destinations with an unmodified boto3. Settings come from the AWS_ environment variables."""

import base64
import http.server
import json
import os
import threading
import time
import unittest
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["HANSOM_ENDPOINT"]
config = Config(retries={"max_attempts": 0})
events = boto3.client("events", endpoint_url=ENDPOINT, config=config)
sqs = boto3.client("sqs", endpoint_url=ENDPOINT, config=config)


def unique(prefix):
    return prefix + "-" + uuid.uuid4().hex[:10]


class Server:
    """Answers with what answer(path, headers) returns: a status, headers and a body. It keeps the requests."""

    def __init__(self, answer):
        self.seen, self.changed = [], threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with outer.changed:
                    outer.seen.append((self.command, self.path, dict(self.headers), body.decode()))
                    status, headers, text = answer(self.path, self.headers)
                    outer.changed.notify_all()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = do_DELETE = do_PATCH = do_POST

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.http.server_port
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def wait(self, n):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.seen) >= n, 30):
                raise AssertionError("%d requests, not %d: %s" % (len(self.seen), n, self.seen))
            return list(self.seen)


class DestinationsTest(unittest.TestCase):
    def connection(self, kind="API_KEY", **auth):
        if not auth:
            auth = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "hush"}}
        name = unique("c")
        return name, events.create_connection(Name=name, AuthorizationType=kind, AuthParameters=auth)["ConnectionArn"]

    def destination(self, url, connection, method="POST", **more):
        name = unique("d")
        return name, events.create_api_destination(Name=name, ConnectionArn=connection, InvocationEndpoint=url, HttpMethod=method, **more)["ApiDestinationArn"]

    def target(self, arn, **more):
        """A rule on a source of its own; the function sends an event to it."""
        source, name = unique("s"), unique("r")
        events.put_rule(Name=name, EventPattern=json.dumps({"source": [source]}))
        out = events.put_targets(Rule=name, Targets=[dict(Id="t", Arn=arn, RoleArn="arn:aws:iam::000000000000:role/r", **more)])
        self.assertEqual(out["FailedEntryCount"], 0)

        def put(detail):
            out = events.put_events(Entries=[dict(Source=source, DetailType="order", Detail=json.dumps(detail))])
            self.assertEqual(out["FailedEntryCount"], 0)
        return put, name

    def queue(self):
        url = sqs.create_queue(QueueName=unique("q"))["QueueUrl"]
        return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def receive(self, url):
        for _ in range(20):
            got = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2, MessageAttributeNames=["All"]).get("Messages", [])
            if got:
                return json.loads(got[0]["Body"]), {k: v["StringValue"] for k, v in got[0]["MessageAttributes"].items()}
        raise AssertionError("no message")

    def state(self, name, want):
        end = time.monotonic() + 30
        while True:
            c = events.describe_connection(Name=name)
            if c["ConnectionState"] == want:
                return c
            self.assertLess(time.monotonic(), end, c)
            time.sleep(0.01)

    def test_request(self):
        server = Server(lambda path, headers: (200, {}, ""))
        _, connection = self.connection("BASIC", BasicAuthParameters={"Username": "user", "Password": "pass"}, InvocationHttpParameters={
            "HeaderParameters": [{"Key": "X-Token", "Value": "hush", "IsValueSecret": True}], "BodyParameters": [{"Key": "from", "Value": "shop", "IsValueSecret": False}]})
        name, arn = self.destination(server.url + "/orders/*/items/*", connection, "PUT")
        self.assertEqual(events.describe_api_destination(Name=name)["ApiDestinationState"], "ACTIVE")
        put, _ = self.target(arn, InputPath="$.detail", HttpParameters={"PathParameterValues": ["$.detail.id", "7"], "HeaderParameters": {"X-Kind": "$.detail-type"}, "QueryStringParameters": {"q": "a b"}})
        put({"id": "o/1", "n": 1})
        method, path, headers, body = server.wait(1)[0]
        self.assertEqual((method, path), ("PUT", "/orders/o%2F1/items/7?q=a+b"))
        self.assertEqual(json.loads(body), {"id": "o/1", "n": 1, "from": "shop"})
        self.assertEqual({k: headers.get(k) for k in ("Authorization", "X-Token", "X-Kind", "Content-Type")}, {
            "Authorization": "Basic " + base64.b64encode(b"user:pass").decode(), "X-Token": "hush", "X-Kind": "order", "Content-Type": "application/json; charset=utf-8"})

    def test_retried(self):
        answers = [(503, {"Retry-After": "1"}, ""), (429, {}, ""), (200, {}, "")]
        server = Server(lambda path, headers: answers.pop(0))
        _, connection = self.connection()
        put, _ = self.target(self.destination(server.url, connection)[1])
        put({"n": 1})
        seen = server.wait(3)
        self.assertEqual({json.loads(body)["detail"]["n"] for _, _, _, body in seen}, {1})
        self.assertEqual({headers["X-Key"] for _, _, headers, _ in seen}, {"hush"})

    def test_dead_letters(self):
        server = Server(lambda path, headers: (404 if path == "/gone" else 500, {}, ""))
        _, connection = self.connection()
        for url, retries, code, message, condition in [
            (server.url + "/gone", 185, "SDK_CLIENT_ERROR", "Unable to invoke ApiDestination endpoint: API destination endpoint returned the HTTP status 404.", None),
            (server.url + "/bad", 1, "SDK_CLIENT_ERROR", "Unable to invoke ApiDestination endpoint: API destination endpoint returned the HTTP status 500.", "MaximumRetryAttempts"),
            (ENDPOINT.replace("localhost", "127.0.0.1") + "/", 185, "NO_PERMISSIONS", None, None),
            ("http://169.254.169.254/latest/meta-data", 185, "NO_PERMISSIONS", None, None),
        ]:
            with self.subTest(url):
                dead, dead_arn = self.queue()
                _, arn = self.destination(url, connection)
                put, rule = self.target(arn, DeadLetterConfig={"Arn": dead_arn}, RetryPolicy={"MaximumRetryAttempts": retries, "MaximumEventAgeInSeconds": 3600})
                put({"n": 1})
                body, attributes = self.receive(dead)
                self.assertEqual(body["detail"], {"n": 1})
                self.assertEqual(attributes["ERROR_CODE"], code)
                if message:
                    self.assertEqual(attributes["ERROR_MESSAGE"], message)
                self.assertEqual(attributes.get("EXHAUSTED_RETRY_CONDITION"), condition)
                self.assertEqual(attributes["RETRY_ATTEMPTS"], "1" if condition else "0")
                self.assertEqual(attributes["TARGET_ARN"], arn)
                self.assertTrue(attributes["RULE_ARN"].endswith(":rule/" + rule), attributes)

    def test_oauth(self):
        tokens = iter(range(1, 100))
        issuer = Server(lambda path, headers: (200, {}, json.dumps({"access_token": "t%d" % next(tokens), "expires_in": 3600})) if path == "/token" else (401, {}, '{"error":"invalid_client"}'))
        good = ["Bearer t1"]
        server = Server(lambda path, headers: (200 if headers["Authorization"] in good else 401, {}, ""))
        auth = lambda path: {"ClientParameters": {"ClientID": "me", "ClientSecret": "hush"}, "AuthorizationEndpoint": issuer.url + path, "HttpMethod": "POST"}
        name, connection = self.connection("OAUTH_CLIENT_CREDENTIALS", OAuthParameters=auth("/token"))
        self.state(name, "AUTHORIZED")
        put, _ = self.target(self.destination(server.url, connection)[1])
        put({})
        put({})
        server.wait(2)
        self.assertEqual(len(issuer.seen), 1)
        good[:] = ["Bearer t2"]
        put({})
        self.assertEqual([h["Authorization"] for _, _, h, _ in server.wait(4)], ["Bearer t1"] * 3 + ["Bearer t2"])
        events.update_connection(Name=name, AuthParameters={"OAuthParameters": auth("/no")})
        self.assertIn("invalid_client", self.state(name, "DEAUTHORIZED")["StateReason"])

    def test_lists_and_ends(self):
        name, connection = self.connection()
        names = sorted(self.destination("https://example.com/", connection)[0] for _ in range(3))
        pages = list(events.get_paginator("list_api_destinations").paginate(ConnectionArn=connection)) if events.can_paginate("list_api_destinations") else [events.list_api_destinations(ConnectionArn=connection)]
        self.assertEqual([d["Name"] for p in pages for d in p["ApiDestinations"]], names)
        self.assertEqual([c["Name"] for c in events.list_connections(NamePrefix=name)["Connections"]], [name])
        events.update_api_destination(Name=names[0], InvocationRateLimitPerSecond=2)
        self.assertEqual(events.describe_api_destination(Name=names[0])["InvocationRateLimitPerSecond"], 2)
        self.assertEqual(events.deauthorize_connection(Name=name)["ConnectionState"], "DEAUTHORIZED")
        self.assertEqual(events.describe_api_destination(Name=names[0])["ApiDestinationState"], "INACTIVE")
        for n in names:
            events.delete_api_destination(Name=n)
        self.assertEqual(events.delete_connection(Name=name)["ConnectionState"], "DELETING")
        with self.assertRaises(ClientError) as caught:
            events.describe_connection(Name=name)
        self.assertEqual(caught.exception.response["Error"], {"Code": "ResourceNotFoundException", "Message": "Failed to describe the connection(s). Connection '%s' does not exist." % name})


if __name__ == "__main__":
    unittest.main()
