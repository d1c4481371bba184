// Drives SQS with an unmodified @aws-sdk/client-sqs, which checks the MD5 of what it sends and receives. Settings come from the AWS_
// environment variables.
const assert = require('node:assert/strict');
const sdk = require('@aws-sdk/client-sqs');

const client = new sdk.SQSClient({ maxAttempts: 1 });
const call = (name, input) => client.send(new sdk[name + 'Command'](input));

async function main() {
  const { QueueUrl } = await call('CreateQueue', { QueueName: 'js', Attributes: { VisibilityTimeout: '0' }, tags: { team: 'blue' } });
  assert.match(QueueUrl, /\/000000000000\/js$/);
  assert.deepEqual((await call('ListQueueTags', { QueueUrl })).Tags, { team: 'blue' });
  await call('SendMessage', {
    QueueUrl, MessageBody: 'grüße',
    MessageAttributes: { n: { DataType: 'Number', StringValue: '1' }, b: { DataType: 'Binary', BinaryValue: new Uint8Array([0, 255]) } },
  });
  const { Messages } = await call('ReceiveMessage', { QueueUrl, MessageAttributeNames: ['All'], MessageSystemAttributeNames: ['All'], WaitTimeSeconds: 5 });
  assert.equal(Messages.length, 1);
  assert.equal(Messages[0].Body, 'grüße');
  assert.deepEqual([...Messages[0].MessageAttributes.b.BinaryValue], [0, 255]);
  assert.equal(Messages[0].Attributes.ApproximateReceiveCount, '1');
  await call('DeleteMessage', { QueueUrl, ReceiptHandle: Messages[0].ReceiptHandle });
  assert.equal((await call('ReceiveMessage', { QueueUrl })).Messages, undefined);

  const batch = await call('SendMessageBatch', { QueueUrl, Entries: [{ Id: 'a', MessageBody: '1' }, { Id: 'b', MessageBody: '2', DelaySeconds: 901 }] });
  assert.deepEqual(batch.Successful.map((e) => e.Id), ['a']);
  assert.deepEqual(batch.Failed.map((e) => e.Id), ['b']);
  await assert.rejects(call('GetQueueUrl', { QueueName: 'nope' }), (e) => e instanceof sdk.QueueDoesNotExist && e.$metadata.httpStatusCode === 400);
  await assert.rejects(call('SendMessage', { QueueUrl, MessageBody: 'x'.repeat((1 << 20) + 1) }), /Message must be shorter than 1048576 bytes/);
  await assert.rejects(call('StartMessageMoveTask', { SourceArn: 'arn:aws:sqs:us-east-1:000000000000:nope' }), (e) => e instanceof sdk.ResourceNotFoundException);

  const abort = new AbortController();
  setTimeout(() => abort.abort(), 100);
  await call('PurgeQueue', { QueueUrl });
  await assert.rejects(client.send(new sdk.ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 20 }), { abortSignal: abort.signal }), { name: 'AbortError' });
  await call('DeleteQueue', { QueueUrl });
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
