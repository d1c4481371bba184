"""Drives EventBridge with an unmodified boto3. Settings come from the AWS_ environment variables."""

import datetime
import json
import os
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


class EventsTest(unittest.TestCase):
    def fails(self, code, f, message=None, **kwargs):
        with self.assertRaises(ClientError) as caught:
            f(**kwargs)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        if message:
            self.assertEqual(caught.exception.response["Error"]["Message"], message)

    def queue(self, suffix="", **attributes):
        url = sqs.create_queue(QueueName=unique("q") + suffix, Attributes=attributes)["QueueUrl"]
        return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def receive(self, url, n):
        got = []
        for _ in range(20):
            for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"], AttributeNames=["All"]).get("Messages", []):
                got.append(m)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
            if len(got) >= n:
                break
        self.assertEqual(len(got), n)
        return got

    def bus(self):
        name = unique("bus")
        return name, events.create_event_bus(Name=name)["EventBusArn"]

    def rule(self, bus, pattern, *targets, **more):
        name = unique("rule")
        arn = events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern), **more)["RuleArn"]
        out = events.put_targets(Rule=name, EventBusName=bus, Targets=list(targets))
        self.assertEqual((out["FailedEntryCount"], out["FailedEntries"]), (0, []))
        return name, arn

    def put(self, bus, *details, **more):
        out = events.put_events(Entries=[dict(EventBusName=bus, Source="shop", DetailType="order", Detail=json.dumps(d), **more) for d in details])
        self.assertEqual(out["FailedEntryCount"], 0)
        return [e["EventId"] for e in out["Entries"]]

    def test_event(self):
        for bus in ("default", self.bus()[0]):
            url, arn = self.queue()
            name, _ = self.rule(bus, {"source": ["shop"], "detail": {"state": ["paid"], "bus": [bus]}}, {"Id": "q", "Arn": arn})
            at = datetime.datetime(2026, 11, 30, 12, 0, 0, tzinfo=datetime.timezone.utc)
            ids = self.put(bus, {"state": "paid", "bus": bus}, {"state": "open", "bus": bus}, Time=at, Resources=["arn:x"])
            self.assertEqual(json.loads(self.receive(url, 1)[0]["Body"]), {
                "version": "0", "id": ids[0], "detail-type": "order", "source": "shop", "account": "000000000000", "time": "2026-11-30T12:00:00Z",
                "region": "us-east-1", "resources": ["arn:x"], "detail": {"state": "paid", "bus": bus}})
            events.disable_rule(Name=name, EventBusName=bus)
            self.put(bus, {"state": "paid", "bus": bus})
            events.enable_rule(Name=name, EventBusName=bus)
            last = self.put(bus, {"state": "paid", "bus": bus})
            self.assertEqual(json.loads(self.receive(url, 1)[0]["Body"])["id"], last[0])

    def test_inputs(self):
        bus, _ = self.bus()
        url, arn = self.queue()
        name, rule = self.rule(bus, {"source": ["shop"]}, {"Id": "constant", "Arn": arn, "Input": '{"a": 1}'})
        cases = [
            ({"InputPath": "$.detail.items[0]"}, {"id": "a<b>"}),
            ({"InputTransformer": {"InputPathsMap": {"id": "$.detail.items[0].id", "n": "$.detail.n"}, "InputTemplate": '"<id> costs <n>"'}}, "a<b> costs 1.5"),
            ({"InputTransformer": {"InputPathsMap": {"id": "$.detail.items[0].id", "none": "$.detail.none"},
                                   "InputTemplate": '{"id": <id>, "none": <none>, "rule": <aws.events.rule-arn>, "name": "<aws.events.rule-name>"}'}},
             {"id": "a<b>", "none": "", "rule": rule, "name": name}),
        ]
        for i, (more, _) in enumerate(cases):
            events.put_targets(Rule=name, EventBusName=bus, Targets=[dict(Id="t%d" % i, Arn=arn, **more)])
        self.assertEqual(len(events.list_targets_by_rule(Rule=name, EventBusName=bus)["Targets"]), 4)
        self.put(bus, {"items": [{"id": "a<b>"}], "n": 1.5})
        got = [json.loads(m["Body"]) for m in self.receive(url, 4)]
        for want in [{"a": 1}] + [want for _, want in cases]:
            self.assertIn(want, got)
        self.fails("ValidationException", events.put_targets, "InputTemplate for target t contains invalid placeholder no.", Rule=name, EventBusName=bus,
                   Targets=[{"Id": "t", "Arn": arn, "InputTransformer": {"InputTemplate": "<no>"}}])
        out = events.remove_targets(Rule=name, EventBusName=bus, Ids=["constant", "t0", "t1", "t2"])
        self.assertEqual(out["FailedEntryCount"], 0)
        events.delete_rule(Name=name, EventBusName=bus)
        events.delete_event_bus(Name=bus)

    def test_fifo_and_buses(self):
        first, _ = self.bus()
        second, second_arn = self.bus()
        url, arn = self.queue(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
        self.rule(first, {"source": ["shop"]}, {"Id": "b", "Arn": second_arn, "RoleArn": "arn:aws:iam::000000000000:role/r"})
        self.rule(second, {"source": ["shop"]}, {"Id": "q", "Arn": arn, "SqsParameters": {"MessageGroupId": "g"}})
        ids = self.put(first, *[{"n": n} for n in range(5)])
        got = self.receive(url, 5)
        self.assertEqual([json.loads(m["Body"])["id"] for m in got], ids)
        self.assertEqual(got[0]["Attributes"]["MessageGroupId"], "g")

    def test_dead_letters(self):
        bus, _ = self.bus()
        url, arn = self.queue()
        none = "arn:aws:lambda:us-east-1:000000000000:function:none"
        _, rule = self.rule(bus, {"source": ["shop"]}, {"Id": "f", "Arn": none, "DeadLetterConfig": {"Arn": arn}, "RetryPolicy": {"MaximumRetryAttempts": 0}})
        ids = self.put(bus, {"a": 1})
        m = self.receive(url, 1)[0]
        self.assertEqual(json.loads(m["Body"])["id"], ids[0])
        self.assertEqual({k: v["StringValue"] for k, v in m["MessageAttributes"].items() if k in ("RULE_ARN", "TARGET_ARN", "ERROR_CODE")},
                         {"RULE_ARN": rule, "TARGET_ARN": none, "ERROR_CODE": "NO_RESOURCE"})

    def test_replay(self):
        bus, arn = self.bus()
        url, queue = self.queue()
        archive, replay = unique("archive"), unique("replay")
        archive_arn = events.create_archive(ArchiveName=archive, EventSourceArn=arn, RetentionDays=1, EventPattern=json.dumps({"source": ["shop"]}))["ArchiveArn"]
        ids = self.put(bus, *[{"n": n} for n in range(10)])
        kept = events.describe_archive(ArchiveName=archive)
        self.assertEqual((kept["EventCount"], kept["State"], kept["RetentionDays"]), (10, "ENABLED", 1))
        self.assertGreater(kept["SizeBytes"], 1000)
        _, rule = self.rule(bus, {"source": ["shop"]}, {"Id": "q", "Arn": queue})
        self.rule(bus, {"source": ["shop"]}, {"Id": "q", "Arn": queue})
        now = datetime.datetime.now(datetime.timezone.utc)
        hour = datetime.timedelta(hours=1)
        events.start_replay(ReplayName=replay, EventSourceArn=archive_arn, EventStartTime=now - hour, EventEndTime=now + hour, Destination={"Arn": arn, "FilterArns": [rule]})
        got = [json.loads(m["Body"]) for m in self.receive(url, 10)]
        self.assertEqual(sorted(e["id"] for e in got), sorted(ids))
        self.assertEqual({e["replay-name"] for e in got}, {replay})
        for _ in range(100):
            state = events.describe_replay(ReplayName=replay)
            if state["State"] == "COMPLETED":
                break
            time.sleep(0.05)
        self.assertEqual(state["State"], "COMPLETED")
        self.assertEqual(state["EventLastReplayedTime"].date(), now.astimezone(state["EventLastReplayedTime"].tzinfo).date())
        self.assertEqual([r["ReplayName"] for r in events.list_replays(NamePrefix=replay)["Replays"]], [replay])
        self.fails("IllegalStatusException", events.cancel_replay, ReplayName=replay)
        self.assertEqual(events.describe_archive(ArchiveName=archive)["EventCount"], 10)
        events.delete_archive(ArchiveName=archive)
        self.fails("ResourceNotFoundException", events.describe_archive, "Archive %s does not exist." % archive, ArchiveName=archive)

    def test_resources(self):
        bus, arn = self.bus()
        self.fails("ResourceAlreadyExistsException", events.create_event_bus, "Event bus %s already exists." % bus, Name=bus)
        self.assertEqual(events.describe_event_bus(Name=bus)["Arn"], arn)
        self.assertIn(bus, [b["Name"] for b in events.list_event_buses(NamePrefix="bus-")["EventBuses"]])
        self.assertEqual([b["Name"] for b in events.list_event_buses(NamePrefix="default")["EventBuses"]], ["default"])
        events.put_permission(EventBusName=bus, Action="events:PutEvents", Principal="111111111111", StatementId="s")
        self.assertIn("111111111111", events.describe_event_bus(Name=bus)["Policy"])
        events.remove_permission(EventBusName=bus, StatementId="s")
        self.assertNotIn("Policy", events.describe_event_bus(Name=bus))
        _, queue = self.queue()
        names = sorted(self.rule(bus, {"source": ["s"]}, {"Id": "q", "Arn": queue}, Tags=[{"Key": "a", "Value": "1"}])[0] for _ in range(3))
        pages = [[r["Name"] for r in page["Rules"]] for page in events.get_paginator("list_rules").paginate(EventBusName=bus, PaginationConfig={"PageSize": 2})]
        self.assertEqual(pages, [names[:2], names[2:]])
        self.assertEqual(events.list_rule_names_by_target(EventBusName=bus, TargetArn=queue)["RuleNames"], names)
        rule = events.describe_rule(Name=names[0], EventBusName=bus)["Arn"]
        events.tag_resource(ResourceARN=rule, Tags=[{"Key": "b", "Value": "2"}])
        events.untag_resource(ResourceARN=rule, TagKeys=["a"])
        self.assertEqual(events.list_tags_for_resource(ResourceARN=rule)["Tags"], [{"Key": "b", "Value": "2"}])
        self.fails("ValidationException", events.delete_rule, "Rule can't be deleted since it has targets.", Name=names[0], EventBusName=bus)
        self.fails("ResourceNotFoundException", events.describe_rule, "Rule none does not exist on EventBus default.", Name="none")
        self.fails("ValidationException", events.put_rule, "Parameter ScheduleExpression is not valid.", Name="x", ScheduleExpression="cron(x)")
        with self.assertRaises(events.exceptions.InvalidEventPatternException):
            events.put_rule(Name="x", EventPattern="{")
        event = {"id": "1", "account": "1", "source": "s", "time": "2026-11-30T12:00:00Z", "region": "r", "resources": [], "detail-type": "t", "detail": {"a": 5}}
        for most, want in ((6, True), (5, False)):
            self.assertEqual(events.test_event_pattern(EventPattern=json.dumps({"detail": {"a": [{"numeric": ["<", most]}]}}), Event=json.dumps(event))["Result"], want)
        out = events.put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": "{}"}, {"Source": "s", "DetailType": "t", "Detail": "x"}])
        self.assertEqual((out["FailedEntryCount"], out["Entries"][1]["ErrorCode"]), (1, "MalformedDetail"))
        self.fails("ValidationException", events.put_events, "Total size of the entries in the request is over the limit.",
                   Entries=[{"Source": "s", "DetailType": "t", "Detail": json.dumps({"a": "x" * (256 * 1024)})}])


if __name__ == "__main__":
    unittest.main()
