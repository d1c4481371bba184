import json
import os

import boto3

sqs = boto3.client("sqs")


class Declined(Exception):
    pass


def charge(order, attempt):
    """Takes the money. Cards that begin with "declined" never work, those that begin with "flaky" not at the first attempt."""
    card = order["card"]
    if card.startswith("declined") or card.startswith("flaky") and attempt == 1:
        raise Declined(f"order {order['id']}: the card {card} was declined, attempt {attempt}")


def handler(event, context):
    """Charges orders and writes them into the ledger. What raises comes again, and what raised too often goes to the dead letters."""
    for record in event["Records"]:
        order = json.loads(record["body"])
        charge(order, int(record["attributes"]["ApproximateReceiveCount"]))
        sqs.send_message(
            QueueUrl=os.environ["HANSOM_QUEUE_LEDGER"],
            MessageBody=json.dumps({"id": order["id"], "customer": order["customer"], "amount": order["amount"]}),
            MessageGroupId=order["customer"],
            MessageDeduplicationId=order["id"],  # an order that is charged twice after a crash is written once
        )
        print(f"order {order['id']}: charged {order['amount']}")
