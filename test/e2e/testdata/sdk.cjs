// Drives the Lambda API with an unmodified @aws-sdk/client-lambda. Settings come from the AWS_ environment variables; argv[2] is
// the zip of a function whose app.handler logs event.n as an object, fails without it, and answers with the event.
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const sdk = require('@aws-sdk/client-lambda');

const client = new sdk.LambdaClient({ maxAttempts: 1 });
const FunctionName = 'javascript';
const waiting = { client, maxWaitTime: 30, minDelay: 0.05, maxDelay: 0.2 };
const call = (name, input) => client.send(new sdk[name + 'Command']({ FunctionName, ...input }));
const fails = (name, input, error, pattern) => assert.rejects(call(name, input), (e) => e instanceof sdk[error] && pattern.test(e.message));

async function main() {
  const created = await call('CreateFunction', {
    Runtime: 'nodejs22.x', Handler: 'app.handler', Role: 'arn:aws:iam::000000000000:role/js', Code: { ZipFile: readFileSync(process.argv[2]) },
    TracingConfig: { Mode: 'Active' }, LoggingConfig: { LogFormat: 'JSON', SystemLogLevel: 'DEBUG', LogGroup: '/js/shared' }, Tags: {},
  });
  assert.equal(created.State, 'Pending');
  assert.equal(created.TracingConfig.Mode, 'Active');
  assert.deepEqual(created.LoggingConfig, { LogFormat: 'JSON', ApplicationLogLevel: 'INFO', SystemLogLevel: 'DEBUG', LogGroup: '/js/shared' });
  assert.match(created.RuntimeVersionConfig.RuntimeVersionArn, /^arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}$/);
  assert.deepEqual(created.SnapStart, { ApplyOn: 'None', OptimizationStatus: 'Off' });
  assert.equal((await sdk.waitUntilFunctionActiveV2(waiting, { FunctionName })).state, 'SUCCESS');

  const answer = await call('Invoke', { Payload: JSON.stringify({ n: 1 }), LogType: 'Tail' });
  assert.deepEqual(JSON.parse(answer.Payload.transformToString()), { n: 1 });
  const lines = Buffer.from(answer.LogResult, 'base64').toString().trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(lines.map((l) => l.type ?? l.level), ['platform.start', 'INFO', 'platform.runtimeDone', 'platform.report']);
  assert.deepEqual(lines[1].message, { n: 1 });
  assert.equal(lines[1].requestId, answer.$metadata.requestId);
  assert.equal(lines[3].record.status, 'success');
  const failed = await call('Invoke', { Payload: '{}', LogType: 'Tail' });
  assert.equal(failed.FunctionError, 'Unhandled');
  assert.match(Buffer.from(failed.LogResult, 'base64').toString(), /"level":"ERROR".*"errorType":"RangeError".*\n.*"status":"error","errorType":"RangeError"/);
  assert.equal((await call('Invoke', { InvocationType: 'Event', Payload: '{"n":2}' })).StatusCode, 202);
  assert.equal((await call('InvokeAsync', { InvokeArgs: '{"n":3}' })).Status, 202);
  await fails('Invoke', { InvocationType: 'Event', Payload: JSON.stringify('x'.repeat(1 << 20)) }, 'RequestTooLargeException', /^1048578 byte payload is too large for the Event invocation type \(limit 1048576 bytes\)$/);
  const streamed = await call('InvokeWithResponseStream', { Payload: '{"n":4}' });
  let text = '';
  for await (const event of streamed.EventStream) if (event.PayloadChunk) text += Buffer.from(event.PayloadChunk.Payload);
  assert.deepEqual(JSON.parse(text), { n: 4 });

  await fails('UpdateFunctionConfiguration', { LoggingConfig: { LogFormat: 'Text', ApplicationLogLevel: 'WARN' } }, 'InvalidParameterValueException', /^LogLevel is not supported when LogFormat is set to "Text"/);
  await fails('UpdateFunctionConfiguration', { SnapStart: { ApplyOn: 'PublishedVersions' } }, 'InvalidParameterValueException', /^nodejs22\.x is not supported for SnapStart enabled functions\.$/);
  await fails('UpdateFunctionConfiguration', { RevisionId: 'old' }, 'PreconditionFailedException', /Revision Id/);
  const updated = await call('UpdateFunctionConfiguration', { LoggingConfig: { LogFormat: 'Text' }, TracingConfig: { Mode: 'PassThrough' }, VpcConfig: { SubnetIds: [], SecurityGroupIds: [] } });
  assert.deepEqual(updated.LoggingConfig, { LogFormat: 'Text', LogGroup: '/js/shared' });
  assert.equal((await sdk.waitUntilFunctionUpdatedV2(waiting, { FunctionName })).state, 'SUCCESS');
  await fails('UpdateFunctionConfiguration', { VpcConfig: { SubnetIds: ['subnet-1'] } }, 'InvalidParameterValueException', /^VpcConfig\.SubnetIds is not supported by this server/);

  assert.equal((await call('PublishVersion', {})).Version, '1');
  assert.equal((await call('GetFunctionRecursionConfig', {})).RecursiveLoop, 'Terminate');
  assert.equal((await call('PutFunctionRecursionConfig', { RecursiveLoop: 'Allow' })).RecursiveLoop, 'Allow');
  const RuntimeVersionArn = created.RuntimeVersionConfig.RuntimeVersionArn;
  assert.equal((await call('PutRuntimeManagementConfig', { Qualifier: '1', UpdateRuntimeOn: 'Manual', RuntimeVersionArn })).RuntimeVersionArn, RuntimeVersionArn);
  assert.equal((await call('GetRuntimeManagementConfig', {})).UpdateRuntimeOn, 'Auto');
  assert.equal((await call('GetFunctionCodeSigningConfig', {})).CodeSigningConfigArn, undefined);
  assert.deepEqual((await call('ListCodeSigningConfigs', {})).CodeSigningConfigs, []);

  const names = [];
  for await (const page of sdk.paginateListFunctions({ client, pageSize: 1 }, { FunctionVersion: 'ALL' })) names.push(...page.Functions.map((f) => f.Version));
  assert.deepEqual(names, ['$LATEST', '1']);
  await call('DeleteFunction', {});
  await fails('GetFunction', {}, 'ResourceNotFoundException', /^Function not found: arn:aws:lambda:us-east-1:000000000000:function:javascript$/);
}

main();
