"""Drives event source mappings with an unmodified boto3. Settings come from the AWS_ environment variables."""

import io
import os
import time
import unittest
import uuid
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["HANSOM_ENDPOINT"]
config = Config(retries={"max_attempts": 0})
functions = boto3.client("lambda", endpoint_url=ENDPOINT, config=config)
queues = boto3.client("sqs", endpoint_url=ENDPOINT, config=config)


class MappingTest(unittest.TestCase):
    def setUp(self):
        self.name = "m-" + uuid.uuid4().hex[:10]
        self.url = queues.create_queue(QueueName=self.name)["QueueUrl"]
        self.arn = queues.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as z:
            z.writestr("app.py", "def handler(event, context):\n    print(len(event['Records']))\n")
        functions.create_function(FunctionName=self.name, Runtime="python3.11", Handler="app.handler",
                                  Role="arn:aws:iam::000000000000:role/r", Code={"ZipFile": code.getvalue()})
        functions.get_waiter("function_active").wait(FunctionName=self.name)

    def wait(self, condition):
        end = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def state(self, uid):
        return functions.get_event_source_mapping(UUID=uid)["State"]

    def left(self):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(int(n) for n in queues.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"].values())

    def test_life(self):
        m = functions.create_event_source_mapping(EventSourceArn=self.arn, FunctionName=self.name, BatchSize=100, MaximumBatchingWindowInSeconds=1)
        uid = m["UUID"]
        self.assertEqual((m["State"], m["BatchSize"], m["StateTransitionReason"]), ("Creating", 100, "USER_INITIATED"))
        self.assertEqual(m["LastModified"].date(), m["LastModified"].utcnow().date())
        self.wait(lambda: self.state(uid) == "Enabled")
        for n in range(25):
            queues.send_message(QueueUrl=self.url, MessageBody=str(n))
        self.wait(lambda: self.left() == 0)
        self.assertEqual(functions.update_event_source_mapping(UUID=uid, Enabled=False)["State"], "Disabling")
        self.wait(lambda: self.state(uid) == "Disabled")
        queues.send_message(QueueUrl=self.url, MessageBody="kept")
        self.assertEqual(self.left(), 1)
        self.assertEqual(functions.update_event_source_mapping(UUID=uid, Enabled=True)["State"], "Enabling")
        self.wait(lambda: self.left() == 0)
        listed = functions.list_event_source_mappings(FunctionName=self.name)["EventSourceMappings"]
        self.assertEqual([x["UUID"] for x in listed], [uid])
        functions.delete_function(FunctionName=self.name)
        self.wait(lambda: functions.get_event_source_mapping(UUID=uid).get("LastProcessingResult", "").startswith("PROBLEM: "))
        self.assertEqual(functions.delete_event_source_mapping(UUID=uid)["State"], "Deleting")

    def test_refusals(self):
        for kwargs, code, message in [
            (dict(EventSourceArn=self.arn, FunctionName="nobody"), "InvalidParameterValueException", "Function does not exist"),
            (dict(EventSourceArn=self.arn, FunctionName=self.name, BatchSize=11), "InvalidParameterValueException",
             "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"),
            (dict(EventSourceArn=self.arn + "-none", FunctionName=self.name), "InvalidParameterValueException", "NonExistentQueue"),
        ]:
            with self.assertRaises(ClientError) as caught:
                functions.create_event_source_mapping(**kwargs)
            self.assertEqual(caught.exception.response["Error"]["Code"], code)
            self.assertIn(message, caught.exception.response["Error"]["Message"])
        queues.set_queue_attributes(QueueUrl=self.url, Attributes={"VisibilityTimeout": "2"})
        with self.assertRaises(ClientError) as caught:
            functions.create_event_source_mapping(EventSourceArn=self.arn, FunctionName=self.name)
        self.assertEqual(caught.exception.response["Error"]["Message"], "Queue visibility timeout: 2 seconds is less than Function timeout: 3 seconds")


if __name__ == "__main__":
    unittest.main()
