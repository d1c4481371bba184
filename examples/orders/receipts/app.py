import json
import os

import boto3

sqs = boto3.client("sqs")


def handler(event, context):
    """Sends the receipt of an order. The rule in hansom.yaml lets those above 100 come here; one may come twice after a crash."""
    order = event["detail"]
    sqs.send_message(
        QueueUrl=os.environ["HANSOM_QUEUE_RECEIPTS"],
        MessageBody=json.dumps({"id": order["id"], "customer": order["customer"], "text": f"{order['customer']} has paid {order['amount']}. Thank you."}),
        MessageGroupId=order["customer"],
        MessageDeduplicationId=order["id"],
    )
    print(f"order {order['id']}: receipt over {order['amount']}")
