import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';

// Endpoint, region and credentials come from the environment, as on AWS.
const sqs = new SQSClient({});

const json = (statusCode, body) => ({ statusCode, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

// Takes an order: it is accepted once it is on the queue. The id is the customer's own, so that an order that is sent twice counts once.
export const handler = async (event) => {
  let order;
  try {
    order = JSON.parse(event.isBase64Encoded ? Buffer.from(event.body, 'base64').toString() : event.body);
  } catch {
    return json(400, { error: 'the body is not JSON' });
  }
  for (const name of ['id', 'customer', 'card']) {
    if (!/^[\w-]{1,64}$/.test(order?.[name] ?? '')) {
      return json(400, { error: `${name} must be 1 to 64 letters, digits, - and _` });
    }
  }
  if (!(order.amount > 0)) {
    return json(400, { error: 'amount must be more than 0' });
  }
  await sqs.send(new SendMessageCommand({
    QueueUrl: process.env.HANSOM_QUEUE_CHARGE,
    MessageBody: JSON.stringify(order),
    MessageGroupId: order.customer, // a customer's orders are charged one after the other
    MessageDeduplicationId: order.id,
  }));
  return json(202, { id: order.id, status: 'accepted' });
};
