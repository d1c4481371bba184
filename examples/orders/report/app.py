import json
import os

import boto3

sqs = boto3.client("sqs")
today = os.environ["HANSOM_QUEUE_TODAY"]


def handler(event, context):
    """Prints what was charged since the last report. What was counted is deleted after it is printed: a crash before that has it counted again."""
    counted = []
    while messages := sqs.receive_message(QueueUrl=today, MaxNumberOfMessages=10).get("Messages"):
        counted += messages
    orders = [json.loads(message["Body"]) for message in counted]
    print(f"today: {len(orders)} orders, {sum(order['amount'] for order in orders)} in total")
    for message in counted:
        sqs.delete_message(QueueUrl=today, ReceiptHandle=message["ReceiptHandle"])
