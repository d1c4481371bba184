"""Drives SQS with an unmodified boto3. Settings come from the AWS_ environment variables."""

import hashlib
import json
import os
import unittest
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["HANSOM_ENDPOINT"]
client = boto3.client("sqs", endpoint_url=ENDPOINT, config=Config(retries={"max_attempts": 0}))
resource = boto3.resource("sqs", endpoint_url=ENDPOINT)


class QueueTest(unittest.TestCase):
    def make(self, suffix="", **attributes):
        name = "q-" + uuid.uuid4().hex[:10] + suffix
        return client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def arn(self, url):
        return client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def fails(self, code, f, **kwargs):
        with self.assertRaises(ClientError) as caught:
            f(**kwargs)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception

    def test_message(self):
        url = self.make()
        sent = client.send_message(QueueUrl=url, MessageBody='grüße <&> "\n\t', MessageAttributes={
            "text": {"DataType": "String", "StringValue": "ß"}, "n": {"DataType": "Number.int", "StringValue": "7"},
            "blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}},
            MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-3152b799-8954dae64eda91bc9a23a7e8"}})
        got = client.receive_message(QueueUrl=url, AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"]
        self.assertEqual(len(got), 1)
        m = got[0]
        self.assertEqual(m["Body"], 'grüße <&> "\n\t')
        self.assertEqual(m["MessageId"], sent["MessageId"])
        self.assertEqual(m["MD5OfBody"], hashlib.md5(m["Body"].encode()).hexdigest())
        self.assertEqual(m["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"])
        self.assertEqual(m["MessageAttributes"]["blob"], {"BinaryValue": b"\x00\xff", "DataType": "Binary"})
        self.assertEqual(m["MessageAttributes"]["n"]["StringValue"], "7")
        self.assertEqual(m["Attributes"]["ApproximateReceiveCount"], "1")
        self.assertEqual(m["Attributes"]["AWSTraceHeader"], "Root=1-3152b799-8954dae64eda91bc9a23a7e8")
        self.assertTrue(m["Attributes"]["SenderId"])
        self.assertNotIn("Messages", client.receive_message(QueueUrl=url))
        client.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        self.fails("ReceiptHandleIsInvalid", client.delete_message, QueueUrl=url, ReceiptHandle=m["ReceiptHandle"][:-8] + "AAAAAAAA")

    def test_selected_attributes(self):
        url = self.make(VisibilityTimeout="0")
        client.send_message(QueueUrl=url, MessageBody="m", MessageAttributes={
            n: {"DataType": "String", "StringValue": n} for n in ("help.me", "help.you", "other")})
        for names, want in ((["help.*"], {"help.me", "help.you"}), (["other", "none"], {"other"}), ([".*"], {"help.me", "help.you", "other"}), ([], set())):
            m = client.receive_message(QueueUrl=url, MessageAttributeNames=names)["Messages"][0]
            self.assertEqual(set(m.get("MessageAttributes", {})), want)

    def test_queue(self):
        url = self.make(DelaySeconds="0", VisibilityTimeout="45")
        name = url.rsplit("/", 1)[1]
        self.assertEqual(url, "%s/000000000000/%s" % (ENDPOINT, name))
        self.assertEqual(client.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "45"})["QueueUrl"], url)
        self.fails("QueueAlreadyExists", client.create_queue, QueueName=name, Attributes={"VisibilityTimeout": "46"})
        with self.assertRaises(client.exceptions.QueueNameExists):
            client.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "46"})
        client.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": "60"})
        attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        self.assertEqual(attributes["MessageRetentionPeriod"], "60")
        self.assertEqual(attributes["ApproximateNumberOfMessages"], "0")
        client.tag_queue(QueueUrl=url, Tags={"a": "1", "b": "2"})
        client.untag_queue(QueueUrl=url, TagKeys=["a"])
        self.assertEqual(client.list_queue_tags(QueueUrl=url)["Tags"], {"b": "2"})
        client.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
        self.assertIn("111111111111", client.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"])
        client.remove_permission(QueueUrl=url, Label="l")
        self.assertIn(url, client.list_queues(QueueNamePrefix=name)["QueueUrls"])
        client.delete_queue(QueueUrl=url)
        self.fails("AWS.SimpleQueueService.NonExistentQueue", client.get_queue_url, QueueName=name)
        with self.assertRaises(client.exceptions.QueueDoesNotExist):
            client.get_queue_url(QueueName=name)

    def test_pages(self):
        prefix = "page" + uuid.uuid4().hex[:6]
        urls = [client.create_queue(QueueName=prefix + str(i))["QueueUrl"] for i in range(5)]
        pages = list(client.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2}))
        self.assertEqual([len(p["QueueUrls"]) for p in pages], [2, 2, 1])
        self.assertEqual([u for p in pages for u in p["QueueUrls"]], urls)

    def test_batches(self):
        url = self.make()
        sent = client.send_message_batch(QueueUrl=url, Entries=[{"Id": str(i), "MessageBody": str(i), "DelaySeconds": 901 * (i == 1)} for i in range(3)])
        self.assertEqual([e["Id"] for e in sent["Successful"]], ["0", "2"])
        self.assertEqual(sent["Failed"][0]["Code"], "InvalidParameterValue")
        got = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        self.assertEqual([m["Body"] for m in got], ["0", "2"])
        answer = client.change_message_visibility_batch(QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": got[0]["ReceiptHandle"], "VisibilityTimeout": 0}])
        self.assertEqual(answer["Successful"], [{"Id": "a"}])
        answer = client.delete_message_batch(QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": got[1]["ReceiptHandle"]}, {"Id": "b", "ReceiptHandle": "x"}])
        self.assertEqual(answer["Successful"], [{"Id": "a"}])
        self.assertEqual((answer["Failed"][0]["Code"], answer["Failed"][0]["SenderFault"]), ("ReceiptHandleIsInvalid", True))
        self.fails("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", client.delete_message_batch, QueueUrl=url,
                   Entries=[{"Id": str(i), "ReceiptHandle": "x"} for i in range(11)])
        self.fails("AWS.SimpleQueueService.BatchRequestTooLong", client.send_message_batch, QueueUrl=url,
                   Entries=[{"Id": str(i), "MessageBody": "x" * 600000} for i in range(2)])

    def test_fifo(self):
        url = self.make(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
        first = client.send_message(QueueUrl=url, MessageBody="one", MessageGroupId="g")
        again = client.send_message(QueueUrl=url, MessageBody="one", MessageGroupId="g")
        self.assertEqual((first["MessageId"], first["SequenceNumber"]), (again["MessageId"], again["SequenceNumber"]))
        client.send_message(QueueUrl=url, MessageBody="two", MessageGroupId="g")
        m = client.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"][0]
        self.assertEqual((m["Body"], m["Attributes"]["MessageGroupId"]), ("one", "g"))
        self.assertEqual(m["Attributes"]["MessageDeduplicationId"], hashlib.sha256(b"one").hexdigest())
        self.assertNotIn("Messages", client.receive_message(QueueUrl=url))
        client.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        self.assertEqual(client.receive_message(QueueUrl=url)["Messages"][0]["Body"], "two")
        self.fails("MissingParameter", client.send_message, QueueUrl=url, MessageBody="x")

    def test_dead_letters(self):
        dead = self.make()
        url = self.make(VisibilityTimeout="0", RedrivePolicy=json.dumps({"deadLetterTargetArn": self.arn(dead), "maxReceiveCount": "1"}))
        self.assertEqual(client.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"], [url])
        sent = client.send_message(QueueUrl=url, MessageBody="poison")
        self.assertEqual(len(client.receive_message(QueueUrl=url)["Messages"]), 1)
        self.assertNotIn("Messages", client.receive_message(QueueUrl=url))
        m = client.receive_message(QueueUrl=dead, AttributeNames=["All"], VisibilityTimeout=0)["Messages"][0]
        self.assertEqual((m["MessageId"], m["Attributes"]["DeadLetterQueueSourceArn"]), (sent["MessageId"], self.arn(url)))
        if hasattr(client, "start_message_move_task"):
            client.start_message_move_task(SourceArn=self.arn(dead))
            self.assertEqual(client.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"][0]["Body"], "poison")
            self.assertEqual(len(client.list_message_move_tasks(SourceArn=self.arn(dead))["Results"]), 1)

    def test_resource(self):
        queue = resource.create_queue(QueueName="r-" + uuid.uuid4().hex[:10])
        queue.send_message(MessageBody="hello")
        for m in queue.receive_messages(WaitTimeSeconds=5):
            self.assertEqual(m.body, "hello")
            m.delete()
        queue.load()
        self.assertEqual(queue.attributes["ApproximateNumberOfMessages"], "0")
        queue.purge()


if __name__ == "__main__":
    unittest.main()
