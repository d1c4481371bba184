"""Drives the Lambda API with an unmodified boto3. Settings come from the AWS_ environment variables."""

import base64
import io
import json
import os
import time
import unittest
import urllib.error
import urllib.request
import uuid
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/hello"
ENDPOINT = os.environ["HANSOM_ENDPOINT"]
client = boto3.client("lambda", endpoint_url=ENDPOINT, config=Config(retries={"max_attempts": 0}, read_timeout=60))


def package(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, text in files.items():
            z.writestr(name.replace("__", "."), text)
    return out.getvalue()


PYTHON = "import os\ndef handler(event, context):\n    print('seen', event.get('n'))\n    return {'n': event.get('n'), 'version': context.function_version, 'greeting': os.environ.get('GREETING')}\n"
NODE = "exports.handler = async (event, context) => { console.log('seen', event.n); return {n: event.n, arn: context.invokedFunctionArn} }\n"


class LambdaTest(unittest.TestCase):
    def make(self, runtime="python3.11", code=None, **more):
        name = "f-" + uuid.uuid4().hex[:10]
        if code is None:
            code = package(app__py=PYTHON) if runtime.startswith("python") else package(app__js=NODE)
        answer = client.create_function(
            FunctionName=name, Runtime=runtime, Handler="app.handler", Role=ROLE, Code={"ZipFile": code}, **more)
        self.addCleanup(self.remove, name)
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        return name, answer

    def remove(self, name):
        try:
            client.delete_function(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            pass

    def fails(self, code, status, call, **args):
        with self.assertRaises(ClientError) as caught:
            call(**args)
        error = caught.exception.response
        self.assertEqual((error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]), (code, status), error)
        return error["Error"]["Message"]

    def invoke(self, name, event, **more):
        answer = client.invoke(FunctionName=name, Payload=json.dumps(event), **more)
        return answer, json.loads(answer["Payload"].read() or "null")

    @unittest.skipUnless("CapacityProviderConfig" in client.meta.service_model.shape_for("CreateFunctionRequest").members, "an older model")
    def test_capacity_provider(self):
        arn = "arn:aws:lambda:us-east-1:000000000000:capacity-provider:local"
        config = {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": arn}}
        name, answer = self.make("nodejs22.x", CapacityProviderConfig=config)
        config["LambdaManagedInstancesCapacityProviderConfig"]["PerExecutionEnvironmentMaxConcurrency"] = 64
        self.assertEqual(answer["CapacityProviderConfig"], config)
        self.assertEqual(client.get_function_configuration(FunctionName=name)["CapacityProviderConfig"], config)
        self.assertEqual([p["CapacityProviderArn"] for p in client.list_capacity_providers()["CapacityProviders"]], [arn])
        self.assertEqual(client.get_capacity_provider(CapacityProviderName=arn)["CapacityProvider"]["State"], "Active")
        self.fails("InvalidParameterValueException", 400, client.update_function_configuration, FunctionName=name, Runtime="python3.11", CapacityProviderConfig=config)

    def test_events(self):
        name, _ = self.make()
        queue = "arn:aws:sqs:us-east-1:000000000000:dead"
        after, _ = self.make(DeadLetterConfig={"TargetArn": queue})
        target = client.get_function_configuration(FunctionName=after)
        self.assertEqual(target["DeadLetterConfig"], {"TargetArn": queue})
        config = {"OnSuccess": {"Destination": target["FunctionArn"]}, "OnFailure": {"Destination": queue}}
        put = client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0, MaximumEventAgeInSeconds=60, DestinationConfig=config)
        self.assertEqual((put["DestinationConfig"], put["MaximumRetryAttempts"], put["MaximumEventAgeInSeconds"]), (config, 0, 60))
        updated = client.update_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": config["OnSuccess"], "OnFailure": {}})
        self.assertEqual((updated["DestinationConfig"]["OnFailure"], updated["MaximumRetryAttempts"]), ({}, 0))
        for field in ("FunctionArn", "DestinationConfig", "LastModified"):
            self.assertEqual(client.get_function_event_invoke_config(FunctionName=name)[field], updated[field])
        self.assertEqual([c["FunctionArn"] for c in client.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"]], [put["FunctionArn"]])
        self.fails("InvalidParameterValueException", 400, client.put_function_event_invoke_config, FunctionName=name,
                   DestinationConfig={"OnSuccess": {"Destination": "arn:aws:sns:us-east-1:000000000000:topic"}})
        self.assertEqual(client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 5}')["StatusCode"], 202)
        client.delete_function_event_invoke_config(FunctionName=name)
        self.fails("ResourceNotFoundException", 404, client.get_function_event_invoke_config, FunctionName=name)

    def test_life_of_a_function(self):
        name, created = self.make(Environment={"Variables": {"GREETING": "hi"}}, Description="d", MemorySize=256, Timeout=5)
        self.assertEqual(created["State"], "Pending")
        self.assertEqual((created["MemorySize"], created["Timeout"], created["Version"]), (256, 5, "$LATEST"))
        answer, result = self.invoke(name, {"n": 1}, LogType="Tail")
        self.assertEqual(result, {"n": 1, "version": "$LATEST", "greeting": "hi"})
        log = base64.b64decode(answer["LogResult"]).decode()
        self.assertIn("seen 1\n", log)
        self.assertRegex(log, r"START RequestId: \S+ Version: \$LATEST\n")
        self.assertRegex(log, r"REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB\tMax Memory Used: \d+ MB")
        self.assertEqual(answer["ExecutedVersion"], "$LATEST")

        updated = client.update_function_configuration(FunctionName=name, Environment={"Variables": {"GREETING": "hello"}})
        self.assertEqual(updated["LastUpdateStatus"], "InProgress")
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        self.assertEqual(self.invoke(name, {"n": 2})[1]["greeting"], "hello")

        got = client.get_function(FunctionName=name)
        with urllib.request.urlopen(got["Code"]["Location"]) as download:
            with zipfile.ZipFile(io.BytesIO(download.read())) as z:
                self.assertEqual(z.read("app.py").decode(), PYTHON)

        self.fails("PreconditionFailedException", 412, client.update_function_configuration,
                   FunctionName=name, Description="x", RevisionId=str(uuid.uuid4()))
        self.fails("ResourceConflictException", 409, client.create_function, FunctionName=name, Runtime="python3.11",
                   Handler="app.handler", Role=ROLE, Code={"ZipFile": package(app__py=PYTHON)})
        client.delete_function(FunctionName=name)
        message = self.fails("ResourceNotFoundException", 404, client.get_function, FunctionName=name)
        self.assertEqual(message, "Function not found: " + created["FunctionArn"])

    def test_node(self):
        name, created = self.make("nodejs22.x")
        answer, result = self.invoke(created["FunctionArn"], {"n": "é"}, LogType="Tail")
        self.assertEqual(result, {"n": "é", "arn": created["FunctionArn"]})
        self.assertRegex(base64.b64decode(answer["LogResult"]).decode(), r"\tINFO\tseen é\n")

    def test_versions_and_aliases(self):
        name, _ = self.make()
        one = client.publish_version(FunctionName=name)["Version"]
        self.assertEqual(client.publish_version(FunctionName=name)["Version"], one)
        client.update_function_code(FunctionName=name, ZipFile=package(app__py=PYTHON + "# changed\n"))
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        two = client.publish_version(FunctionName=name)["Version"]
        self.assertEqual((one, two), ("1", "2"))
        alias = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        self.assertEqual(self.invoke(name + ":live", {})[1]["version"], "1")
        self.assertEqual(self.invoke(alias["AliasArn"], {})[0]["ExecutedVersion"], "1")
        client.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
        seen = {self.invoke(name, {}, Qualifier="live")[0]["ExecutedVersion"] for _ in range(40)}
        self.assertEqual(seen, {"1", "2"})
        self.fails("ResourceConflictException", 409, client.delete_function, FunctionName=name, Qualifier="1")
        versions = client.get_paginator("list_versions_by_function").paginate(FunctionName=name, PaginationConfig={"PageSize": 1})
        self.assertEqual([v["Version"] for page in versions for v in page["Versions"]], ["$LATEST", "1", "2"])
        client.delete_alias(FunctionName=name, Name="live")
        client.delete_function(FunctionName=name, Qualifier="1")
        self.fails("ResourceNotFoundException", 404, client.get_function, FunctionName=name, Qualifier="1")

    def test_pagination(self):
        names = {self.make()[0] for _ in range(3)}
        pages = list(client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}))
        self.assertGreater(len(pages), 1)
        self.assertLessEqual(names, {f["FunctionName"] for page in pages for f in page["Functions"]})

    def test_errors_of_functions(self):
        code = "import sys, time, os\ndef handler(event, context):\n    exec(event['do'])\n"
        name, _ = self.make(code=package(app__py=code), Timeout=1)
        for do, kind, text in [
            ("raise ValueError('no')", "ValueError", "no"),
            ("time.sleep(30)", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
            ("os._exit(3)", "Runtime.ExitError", "exit status 3"),
            ("return_ = set([1]); raise KeyError('x')", "KeyError", "'x'"),
        ]:
            answer, result = self.invoke(name, {"do": do})
            self.assertEqual((answer["StatusCode"], answer.get("FunctionError")), (200, "Unhandled"), result)
            self.assertEqual(result["errorType"], kind, result)
            self.assertIn(text, result["errorMessage"])
        name, _ = self.make(code=package(other__py="x = 1\n"))
        answer, result = self.invoke(name, {})
        self.assertEqual(result["errorType"], "Runtime.ImportModuleError", result)

    def test_out_of_memory(self):
        name, _ = self.make(code=package(app__py="def handler(event, context):\n    return len(bytearray(400 << 20)) \n"), MemorySize=128)
        answer, result = self.invoke(name, {}, LogType="Tail")
        self.assertEqual(result["errorType"], "Runtime.OutOfMemory", result)
        self.assertIn("signal: killed", result["errorMessage"])

    def test_concurrency(self):
        name, _ = self.make()
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        self.assertEqual(client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"], 0)
        self.fails("TooManyRequestsException", 429, client.invoke, FunctionName=name)
        client.delete_function_concurrency(FunctionName=name)
        self.assertEqual(self.invoke(name, {"n": 1})[1]["n"], 1)
        self.assertEqual(client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"], 1000)

    def test_provisioned_concurrency(self):
        name, _ = self.make(code=package(app__py="import os\ndef handler(event, context):\n    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"))
        at = {"FunctionName": name, "Qualifier": client.publish_version(FunctionName=name)["Version"]}
        self.fails("ProvisionedConcurrencyConfigNotFoundException", 404, client.get_provisioned_concurrency_config, **at)
        self.fails("InvalidParameterValueException", 400, client.put_provisioned_concurrency_config, FunctionName=name, Qualifier="$LATEST",
                   ProvisionedConcurrentExecutions=1)
        put = client.put_provisioned_concurrency_config(ProvisionedConcurrentExecutions=1, **at)
        self.assertEqual((put["ResponseMetadata"]["HTTPStatusCode"], put["Status"]), (202, "IN_PROGRESS"))
        end = time.monotonic() + 60
        while client.get_provisioned_concurrency_config(**at)["Status"] != "READY":
            self.assertLess(time.monotonic(), end, "not READY within a minute")
            time.sleep(0.02)
        answer = client.invoke(LogType="Tail", **at)
        self.assertEqual(json.load(answer["Payload"]), "provisioned-concurrency")
        self.assertNotIn(b"Init Duration", base64.b64decode(answer["LogResult"]))
        listed = client.get_paginator("list_provisioned_concurrency_configs").paginate(FunctionName=name).build_full_result()
        self.assertEqual([c["AvailableProvisionedConcurrentExecutions"] for c in listed["ProvisionedConcurrencyConfigs"]], [1])
        self.assertEqual(client.delete_provisioned_concurrency_config(**at)["ResponseMetadata"]["HTTPStatusCode"], 204)

    def test_permissions(self):
        name, _ = self.make()
        client.add_permission(FunctionName=name, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com",
                              SourceArn="arn:aws:s3:::bucket", SourceAccount="000000000000")
        policy = json.loads(client.get_policy(FunctionName=name)["Policy"])
        self.assertEqual(policy["Statement"][0]["Principal"], {"Service": "s3.amazonaws.com"})
        self.fails("ResourceConflictException", 409, client.add_permission, FunctionName=name, StatementId="s3",
                   Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
        client.remove_permission(FunctionName=name, StatementId="s3")
        self.fails("ResourceNotFoundException", 404, client.get_policy, FunctionName=name)

    def test_function_url(self):
        code = "def handler(event, context):\n    return {'statusCode': 201, 'headers': {'x-a': 'b'}, 'cookies': ['k=v'], 'body': event['rawPath'] + '?' + event['rawQueryString']}\n"
        name, _ = self.make(code=package(app__py=code))
        url = client.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
        self.fails("ResourceConflictException", 409, client.create_function_url_config, FunctionName=name, AuthType="NONE")
        host = url.split("://")[1].rstrip("/")
        request = urllib.request.Request("http://" + os.environ["HANSOM_EDGE"] + "/a/b?x=1&x=2", headers={"Host": host})
        with urllib.request.urlopen(request) as answer:
            self.assertEqual((answer.status, answer.read().decode(), answer.headers["x-a"], answer.headers["set-cookie"]),
                             (201, "/a/b?x=1&x=2", "b", "k=v"))
        client.update_function_url_config(FunctionName=name, AuthType="AWS_IAM")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        self.assertEqual(caught.exception.code, 403)
        client.delete_function_url_config(FunctionName=name)
        self.fails("ResourceNotFoundException", 404, client.get_function_url_config, FunctionName=name)

    def test_stream(self):
        name, _ = self.make("nodejs22.x", package(app__js="exports.handler = awslambda.streamifyResponse(async (event, out) => { out.write('one '); out.write('two'); out.end() })\n"))
        stream = getattr(client, "invoke_with_response_stream", None)
        if stream is None:
            self.skipTest("this boto3 is older than InvokeWithResponseStream")
        events = list(stream(FunctionName=name, Payload=b"{}")["EventStream"])
        self.assertEqual(b"".join(e["PayloadChunk"]["Payload"] for e in events if "PayloadChunk" in e), b"one two")
        self.assertIn("InvokeComplete", events[-1])

    def test_events(self):
        name, _ = self.make()
        answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 1}')
        self.assertEqual((answer["StatusCode"], answer["Payload"].read()), (202, b""))
        self.assertEqual(client.invoke_async(FunctionName=name, InvokeArgs=b"{}")["Status"], 202)
        self.fails("ResourceNotFoundException", 404, client.invoke, FunctionName="none", InvocationType="Event")
        large = lambda size: b'"' + b"a" * (size - 2) + b'"'
        self.assertEqual(client.invoke(FunctionName=name, InvocationType="Event", Payload=large(1 << 20))["StatusCode"], 202)
        message = self.fails("RequestTooLargeException", 413, client.invoke, FunctionName=name, InvocationType="Event", Payload=large((1 << 20) + 1))
        self.assertEqual(message, "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)")
        self.fails("RequestTooLargeException", 413, client.invoke_async, FunctionName=name, InvokeArgs=large((256 << 10) + 1))
        self.fails("InvalidRequestContentException", 400, client.invoke, FunctionName=name, InvocationType="Event", Payload=b"{")

    def test_code_updates(self):
        name, created = self.make(Publish=True)
        self.assertEqual((created["Version"], created["State"]), ("1", "Pending"))
        revision = client.get_function_configuration(FunctionName=name)["RevisionId"]
        code = package(app__py=PYTHON + "# changed\n")
        dry = client.update_function_code(FunctionName=name, ZipFile=code, DryRun=True, RevisionId=revision)
        self.assertNotEqual(dry["CodeSha256"], created["CodeSha256"])
        now = client.get_function_configuration(FunctionName=name)
        self.assertEqual((now["CodeSha256"], now["RevisionId"]), (created["CodeSha256"], revision))
        self.fails("PreconditionFailedException", 412, client.update_function_code, FunctionName=name, ZipFile=code, RevisionId="x", DryRun=True)
        updated = client.update_function_code(FunctionName=name, ZipFile=code, Publish=True, RevisionId=revision)
        self.assertEqual((updated["Version"], updated["CodeSha256"]), ("2", dry["CodeSha256"]))
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        self.fails("PreconditionFailedException", 412, client.publish_version, FunctionName=name, RevisionId=revision)
        self.fails("PreconditionFailedException", 412, client.add_permission, FunctionName=name, StatementId="s", Action="lambda:InvokeFunction",
                   Principal="*", RevisionId=revision)
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        self.fails("PreconditionFailedException", 412, client.update_alias, FunctionName=name, Name="live", RevisionId=revision)

    def test_code_signing(self):
        name, _ = self.make()
        self.assertNotIn("CodeSigningConfigArn", client.get_function_code_signing_config(FunctionName=name))
        self.assertEqual(client.list_code_signing_configs()["CodeSigningConfigs"], [])
        client.delete_function_code_signing_config(FunctionName=name)
        self.fails("ResourceNotFoundException", 404, client.get_code_signing_config,
                   CodeSigningConfigArn="arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0")

    def test_json_logs(self):
        if "LoggingConfig" not in client.meta.service_model.operation_model("CreateFunction").input_shape.members:
            self.skipTest("this boto3 is older than LoggingConfig")
        code = "import logging\nlog = logging.getLogger('mine')\ndef handler(event, context):\n    log.info('hidden')\n    log.warning('seen %s', event['n'], extra={'order': 7})\n    raise KeyError('gone')\n"
        name, created = self.make(code=package(app__py=code), LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"})
        self.assertEqual(created["LoggingConfig"], {"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO", "LogGroup": "/aws/lambda/" + name})
        answer, _ = self.invoke(name, {"n": 1}, LogType="Tail")
        lines = [json.loads(line) for line in base64.b64decode(answer["LogResult"]).decode().splitlines()]
        self.assertEqual([line.get("type") or line["level"] for line in lines], ["platform.start", "WARNING", "ERROR", "platform.runtimeDone", "platform.report"])
        self.assertEqual((lines[1]["message"], lines[1]["logger"], lines[1]["order"], lines[1]["requestId"]), ("seen 1", "mine", 7, answer["ResponseMetadata"]["RequestId"]))
        self.assertEqual((lines[2]["errorType"], lines[4]["record"]["errorType"]), ("KeyError", "KeyError"))

    def test_management(self):
        if not hasattr(client, "get_function_recursion_config"):
            self.skipTest("this boto3 is older than recursion config")
        name, created = self.make("python3.12", SnapStart={"ApplyOn": "PublishedVersions"}, TracingConfig={"Mode": "Active"})
        self.assertEqual((created["SnapStart"], created["TracingConfig"]), ({"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}, {"Mode": "Active"}))
        self.assertEqual(client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"], "Terminate")
        client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
        self.assertEqual(client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"], "Allow")
        arn = created["RuntimeVersionConfig"]["RuntimeVersionArn"]
        self.assertEqual(client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"], "Auto")
        client.put_runtime_management_config(FunctionName=name, UpdateRuntimeOn="Manual", RuntimeVersionArn=arn)
        self.assertEqual(client.get_runtime_management_config(FunctionName=name, Qualifier="$LATEST")["RuntimeVersionArn"], arn)
        self.fails("InvalidParameterValueException", 400, client.put_runtime_management_config, FunctionName=name, UpdateRuntimeOn="Manual",
                   RuntimeVersionArn="arn:aws:lambda:us-east-1::runtime:" + "0" * 64)
        changed = client.update_function_configuration(FunctionName=name, SnapStart={"ApplyOn": "None"}, Runtime="python3.11")
        self.assertEqual(changed["SnapStart"]["ApplyOn"], "None")

    def test_refusals(self):
        name, _ = self.make()
        message = self.fails("InvalidParameterValueException", 400, client.create_function, FunctionName="x", Runtime="cobol1.x",
                             Handler="a.b", Role=ROLE, Code={"ZipFile": package(a="")})
        self.assertTrue(message.startswith("Value cobol1.x at 'runtime' failed to satisfy constraint"), message)
        self.fails("InvalidParameterValueException", 400, client.create_function, FunctionName="x", Runtime="python3.11",
                   Handler="a.b", Role=ROLE, Code={"ZipFile": b"not a zip"})
        self.fails("ValidationException", 400, client.create_function, FunctionName="x", Runtime="python3.11",
                   Handler="a.b", Role="r1", Code={"ZipFile": package(a="")})
        self.fails("InvalidRequestContentException", 400, client.invoke, FunctionName=name, Payload=b"{")
        message = self.fails("RequestTooLargeException", 413, client.invoke, FunctionName=name, Payload=b'"' + b"a" * ((6 << 20) - 1) + b'"')
        self.assertIn("6291456", message)
        self.fails("InvalidParameterValueException", 400, client.create_code_signing_config, AllowedPublishers={"SigningProfileVersionArns": ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/p"]})
        for member in ({"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
                       {"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}, {"ImageConfig": {"Command": ["c"]}}):
            message = self.fails("InvalidParameterValueException", 400, client.update_function_configuration, FunctionName=name, **member)
            self.assertRegex(message, r"^%s(\.\w+)? is not supported by this server\. Leave it out of the request\.$" % next(iter(member)))
        other = "arm64" if client.get_function_configuration(FunctionName=name)["Architectures"] == ["x86_64"] else "x86_64"
        message = self.fails("InvalidParameterValueException", 400, client.update_function_code, FunctionName=name, ZipFile=package(app__py=PYTHON), Architectures=[other])
        self.assertIn(other, message)
        self.assertEqual(client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"], 204)

    def test_identity_and_roles(self):
        me = boto3.client("sts", endpoint_url=ENDPOINT).get_caller_identity()
        self.assertEqual(me["Account"], "000000000000")
        iam = boto3.client("iam", endpoint_url=ENDPOINT, region_name="us-east-1")
        role = "r-" + uuid.uuid4().hex[:8]
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=trust)
        iam.attach_role_policy(RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AWSLambdaExecute")
        self.assertEqual(iam.get_role(RoleName=role)["Role"]["RoleName"], role)
        self.assertEqual(iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"][0]["PolicyName"], "AWSLambdaExecute")
        self.assertEqual(iam.list_instance_profiles_for_role(RoleName=role)["InstanceProfiles"], [])
        iam.detach_role_policy(RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AWSLambdaExecute")
        iam.delete_role_policy(RoleName=role, PolicyName="p")
        iam.delete_role(RoleName=role)


if __name__ == "__main__":
    unittest.main()
