"""Drives EventBridge Scheduler with an unmodified boto3. Settings come from the AWS_ environment variables."""

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
CONFIG = Config(retries={"max_attempts": 0})
client = boto3.client("scheduler", endpoint_url=ENDPOINT, config=CONFIG)
sqs = boto3.client("sqs", endpoint_url=ENDPOINT, config=CONFIG)
ROLE = "arn:aws:iam::000000000000:role/r"
OFF = {"Mode": "OFF"}


class SchedulerTest(unittest.TestCase):
    def setUp(self):
        self.name = "s-" + uuid.uuid4().hex[:10]
        self.queue = sqs.create_queue(QueueName=self.name)["QueueUrl"]
        self.target = {"Arn": "arn:aws:sqs:us-east-1:000000000000:" + self.name, "RoleArn": ROLE}

    def fails(self, code, status, f, **kwargs):
        with self.assertRaises(ClientError) as caught:
            f(**kwargs)
        response = caught.exception.response
        self.assertEqual(response["Error"]["Code"], code)
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], status)
        return response["Error"]["Message"]

    def receive(self):
        return sqs.receive_message(QueueUrl=self.queue, WaitTimeSeconds=20)["Messages"][0]["Body"]

    def test_at(self):
        when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
        tokyo = when + datetime.timedelta(hours=9)
        arn = client.create_schedule(Name=self.name, ScheduleExpression=tokyo.strftime("at(%Y-%m-%dT%H:%M:%S)"),
                                     ScheduleExpressionTimezone="Asia/Tokyo", FlexibleTimeWindow=OFF, Target=self.target)["ScheduleArn"]
        self.assertEqual(arn, "arn:aws:scheduler:us-east-1:000000000000:schedule/default/" + self.name)
        event = json.loads(self.receive())  # without Input it says what happened
        self.assertEqual(event["time"], when.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.assertEqual((event["source"], event["detail-type"], event["resources"]), ("aws.scheduler", "Scheduled Event", [arn]))
        self.assertGreaterEqual(time.time(), int(when.timestamp()))
        client.delete_schedule(Name=self.name)

    def test_rate(self):  # it begins at once
        client.create_schedule(Name=self.name, ScheduleExpression="rate(1 minute)", FlexibleTimeWindow=OFF, Target={**self.target, "Input": "tick"})
        self.assertEqual(self.receive(), "tick")
        client.delete_schedule(Name=self.name)

    def test_schedule(self):
        start = datetime.datetime(2099, 1, 1, 12, tzinfo=datetime.timezone.utc)
        args = dict(Name=self.name, ScheduleExpression="cron(0 9 ? * MON-FRI *)", ScheduleExpressionTimezone="Europe/Berlin", StartDate=start,
                    FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}, Description="daily",
                    Target={**self.target, "Input": "x", "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 60},
                            "DeadLetterConfig": {"Arn": self.target["Arn"]}})
        deletes = "ActionAfterCompletion" in client.meta.service_model.operation_model("CreateSchedule").input_shape.members  # Debian's boto3 is older
        if deletes:
            args["ActionAfterCompletion"] = "DELETE"
        client.create_schedule(**args)
        got = client.get_schedule(Name=self.name)
        for key, want in args.items():
            self.assertEqual(got[key], want)
        self.assertEqual((got["GroupName"], got["State"]), ("default", "ENABLED"))
        self.assertLess(abs(got["CreationDate"].timestamp() - time.time()), 60)
        self.assertEqual(self.fails("ConflictException", 409, client.create_schedule, **args), f"Schedule {self.name} already exists.")
        client.update_schedule(Name=self.name, ScheduleExpression="rate(2 days)", State="DISABLED", FlexibleTimeWindow=OFF, Target=self.target)
        got = client.get_schedule(Name=self.name)
        self.assertEqual((got["State"], got["ScheduleExpression"]), ("DISABLED", "rate(2 days)"))
        self.assertEqual(got.get("ActionAfterCompletion"), "NONE" if deletes else None)
        self.assertNotIn("StartDate", got)
        self.assertEqual(got["Target"]["RetryPolicy"], {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185})
        client.delete_schedule(Name=self.name)
        self.assertEqual(self.fails("ResourceNotFoundException", 404, client.get_schedule, Name=self.name), f"Schedule {self.name} does not exist.")
        self.fails("ResourceNotFoundException", 404, client.delete_schedule, Name=self.name)

    def test_refused(self):
        def create(**kwargs):
            client.create_schedule(**{**dict(Name=self.name, ScheduleExpression="rate(1 hour)", FlexibleTimeWindow=OFF, Target=self.target), **kwargs})
        for expression in ["cron(7 20 * * NOT *)", "cron(INVALID)", "rate(-10 minutes)", "rate(foo minutes)", "at(2021-12-31)"]:
            message = self.fails("ValidationException", 400, create, ScheduleExpression=expression)
            self.assertEqual(message, f"Invalid Schedule Expression {expression}.")
        self.fails("ResourceNotFoundException", 404, create, GroupName="none")
        self.fails("ValidationException", 400, create, Target={"Arn": "arn:aws:sns:us-east-1:000000000000:t", "RoleArn": ROLE})
        self.fails("ValidationException", 400, create, Name="a b")

    def test_group(self):
        group = "g-" + self.name
        arn = client.create_schedule_group(Name=group, Tags=[{"Key": "team", "Value": "blue"}])["ScheduleGroupArn"]
        self.fails("ConflictException", 409, client.create_schedule_group, Name=group)
        client.tag_resource(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "test"}])
        client.untag_resource(ResourceArn=arn, TagKeys=["team"])
        self.assertEqual(client.list_tags_for_resource(ResourceArn=arn)["Tags"], [{"Key": "stage", "Value": "test"}])
        for i in range(5):
            client.create_schedule(Name=f"{i}", GroupName=group, ScheduleExpression="rate(1 hour)", State="DISABLED", FlexibleTimeWindow=OFF, Target=self.target)
        pages = list(client.get_paginator("list_schedules").paginate(GroupName=group, PaginationConfig={"PageSize": 2}))
        self.assertEqual([s["Name"] for page in pages for s in page["Schedules"]], ["0", "1", "2", "3", "4"])
        self.assertEqual(len(pages), 3)
        groups = [g["Name"] for page in client.get_paginator("list_schedule_groups").paginate() for g in page["ScheduleGroups"]]
        self.assertIn("default", groups)
        self.assertIn(group, groups)
        client.delete_schedule_group(Name=group)
        for _ in range(100):
            try:
                self.assertEqual(client.get_schedule_group(Name=group)["State"], "DELETING")
                time.sleep(0.1)
            except ClientError as e:
                self.assertEqual(e.response["Error"]["Code"], "ResourceNotFoundException")
                break
        else:
            self.fail("the group is still there")
        self.fails("ResourceNotFoundException", 404, client.get_schedule, Name="0", GroupName=group)


unittest.main()
