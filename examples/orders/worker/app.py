import json
import os

import boto3

sqs = boto3.client("sqs")
events = boto3.client("events")


class Declined(Exception):
    pass


def charge(order, attempt):
    """Takes the money. Cards that begin with "declined" never work, those that begin with "flaky" not at the first attempt."""
    card = order["card"]
    if card.startswith("declined") or card.startswith("flaky") and attempt == 1:
        raise Declined(f"order {order['id']}: the card {card} was declined, attempt {attempt}")


def handler(event, context):
    """Charges orders, writes them down and tells of them. What raises comes again, and what raised too often goes to the dead letters."""
    for record in event["Records"]:
        order = json.loads(record["body"])
        charge(order, int(record["attributes"]["ApproximateReceiveCount"]))
        text = json.dumps({"id": order["id"], "customer": order["customer"], "amount": order["amount"]})
        # The id keeps an order that is charged twice after a crash from being written down twice.
        for queue, group in (("LEDGER", order["customer"]), ("TODAY", order["id"])):
            sqs.send_message(QueueUrl=os.environ["HANSOM_QUEUE_" + queue], MessageBody=text, MessageGroupId=group, MessageDeduplicationId=order["id"])
        told = events.put_events(Entries=[{"Source": "orders", "DetailType": "charged", "Detail": text}])
        if told["FailedEntryCount"]:
            raise RuntimeError(told["Entries"][0]["ErrorMessage"])
        print(f"order {order['id']}: charged {order['amount']}")
