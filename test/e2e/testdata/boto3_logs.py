"""Drives the CloudWatch Logs API with an unmodified boto3. Settings come from the AWS_ environment variables."""

import io
import json
import os
import time
import unittest
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["HANSOM_ENDPOINT"]
config = Config(retries={"max_attempts": 0}, read_timeout=60)
logs = boto3.client("logs", endpoint_url=ENDPOINT, config=config)
functions = boto3.client("lambda", endpoint_url=ENDPOINT, config=config)

CODE = "import json\ndef handler(event, context):\n    for i in range(event['lines']):\n        print(json.dumps({'i': i, 'even': i % 2 == 0}))\n    return [context.log_group_name, context.log_stream_name]\n"


def package(text):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("app.py", text)
    return out.getvalue()


class LogsTest(unittest.TestCase):
    def fails(self, code, call, **args):
        with self.assertRaises(ClientError) as caught:
            call(**args)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["Error"]["Message"]

    def test_function(self):
        functions.create_function(FunctionName="f", Runtime="python3.11", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r", Code={"ZipFile": package(CODE)}, Timeout=30)
        functions.get_waiter("function_active_v2").wait(FunctionName="f", WaiterConfig={"Delay": 1})
        answer = functions.invoke(FunctionName="f", Payload=json.dumps({"lines": 250}))
        group, stream = json.loads(answer["Payload"].read())

        events = []
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group, PaginationConfig={"PageSize": 40}):
            self.assertLessEqual(len(page["events"]), 40)
            events += page["events"]
        self.assertEqual(len({e["eventId"] for e in events}), len(events))
        self.assertEqual([e["timestamp"] for e in events], sorted(e["timestamp"] for e in events))
        numbers = [json.loads(e["message"])["i"] for e in events if e["message"].startswith("{")]
        self.assertEqual(numbers, list(range(250)))
        self.assertEqual({e["logStreamName"] for e in events}, {stream})
        again = logs.filter_log_events(logGroupName=group)["events"]
        self.assertEqual(again, events)

        even = logs.filter_log_events(logGroupName=group, filterPattern="{ $.even IS TRUE && $.i >= 100 }")["events"]
        self.assertEqual([json.loads(e["message"])["i"] for e in even], list(range(100, 250, 2)))

        forward, token = [], None
        while True:
            page = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, limit=60, **({"nextToken": token} if token else {}))
            forward += page["events"]
            if page["nextForwardToken"] == token:
                break
            token = page["nextForwardToken"]
        self.assertEqual([e["message"] for e in forward], [e["message"] for e in events])
        backward, token = [], None
        while True:
            page = logs.get_log_events(logGroupName=group, logStreamName=stream, limit=60, **({"nextToken": token} if token else {}))
            backward = page["events"] + backward
            if page["nextBackwardToken"] == token:
                break
            token = page["nextBackwardToken"]
        self.assertEqual(backward, forward)

        found = [g for page in logs.get_paginator("describe_log_groups").paginate() for g in page["logGroups"] if g["logGroupName"] == group]
        self.assertEqual(len(found), 1)
        self.assertGreater(found[0]["storedBytes"], 250 * 20)
        self.assertEqual(found[0]["arn"], "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f:*")
        self.assertLess(abs(found[0]["creationTime"] / 1000 - time.time()), 60)
        streams = [s for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=group, orderBy="LastEventTime", descending=True) for s in page["logStreams"]]
        self.assertEqual([s["logStreamName"] for s in streams], [stream])
        self.assertEqual((streams[0]["firstEventTimestamp"], streams[0]["lastEventTimestamp"]), (events[0]["timestamp"], events[-1]["timestamp"]))

        logs.delete_log_group(logGroupName=group)
        self.fails("ResourceNotFoundException", logs.filter_log_events, logGroupName=group)
        functions.invoke(FunctionName="f", Payload=json.dumps({"lines": 1}))
        self.assertGreaterEqual(len(logs.filter_log_events(logGroupName=group)["events"]), 3)

    def test_groups(self):
        names = ["/g/%03d" % i for i in range(120)]
        for name in names:
            logs.create_log_group(logGroupName=name, tags={"n": name})
        pages = list(logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/g/"))
        self.assertEqual([len(p["logGroups"]) for p in pages], [50, 50, 20])
        self.assertEqual([g["logGroupName"] for p in pages for g in p["logGroups"]], names)
        self.fails("ResourceAlreadyExistsException", logs.create_log_group, logGroupName=names[0])
        logs.put_retention_policy(logGroupName=names[0], retentionInDays=3)
        self.assertEqual(logs.describe_log_groups(logGroupNamePrefix=names[0])["logGroups"][0]["retentionInDays"], 3)
        logs.delete_retention_policy(logGroupName=names[0])
        self.assertNotIn("retentionInDays", logs.describe_log_groups(logGroupNamePrefix=names[0])["logGroups"][0])
        self.assertIn("enum value set", self.fails("InvalidParameterException", logs.put_retention_policy, logGroupName=names[0], retentionInDays=2))
        self.assertEqual(logs.list_tags_log_group(logGroupName=names[1])["tags"], {"n": names[1]})

    def test_put(self):
        logs.create_log_group(logGroupName="/put")
        for i in range(60):
            logs.create_log_stream(logGroupName="/put", logStreamName="s%02d" % i)
        now = int(time.time() * 1000)
        old = now - 15 * 24 * 3600 * 1000
        answer = logs.put_log_events(logGroupName="/put", logStreamName="s01", logEvents=[{"timestamp": old, "message": "old"}, {"timestamp": now, "message": "n\u00e4w"}, {"timestamp": now + 3 * 3600 * 1000, "message": "future"}])
        self.assertEqual(answer["rejectedLogEventsInfo"], {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2})
        self.assertEqual([e["message"] for e in logs.get_log_events(logGroupName="/put", logStreamName="s01")["events"]], ["n\u00e4w"])
        names = [s["logStreamName"] for page in logs.get_paginator("describe_log_streams").paginate(logGroupName="/put") for s in page["logStreams"]]
        self.assertEqual(names, ["s%02d" % i for i in range(60)])
        names = [s["logStreamName"] for page in logs.get_paginator("describe_log_streams").paginate(logGroupName="/put", orderBy="LastEventTime", descending=True) for s in page["logStreams"]]
        self.assertEqual((len(names), names[0]), (60, "s01"))
        logs.delete_log_stream(logGroupName="/put", logStreamName="s01")
        self.assertEqual(logs.filter_log_events(logGroupName="/put")["events"], [])
        self.fails("ResourceNotFoundException", logs.put_log_events, logGroupName="/put", logStreamName="s01", logEvents=[{"timestamp": now, "message": "x"}])


if __name__ == "__main__":
    unittest.main()
