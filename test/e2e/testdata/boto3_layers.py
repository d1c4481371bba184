"""Drives layers and tags with an unmodified boto3. Settings come from the AWS_ environment variables."""

import base64
import hashlib
import io
import json
import os
import unittest
import urllib.request
import uuid
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/layers"
ENDPOINT = os.environ["HANSOM_ENDPOINT"]


def connect(*keys):
    more = dict(zip(("aws_access_key_id", "aws_secret_access_key"), keys))
    return boto3.client("lambda", endpoint_url=ENDPOINT, config=Config(retries={"max_attempts": 0}, read_timeout=60), **more)


client = connect()


def package(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100755 << 16
            z.writestr(info, text)
    return out.getvalue()


PYTHON = """
import os, subprocess
def handler(event, context):
    import lib, sited
    return {'lib': lib.VALUE, 'sited': sited.VALUE, 'opt': sorted(os.listdir(os.path.dirname(os.path.dirname(lib.__file__)))),
            'tool': subprocess.check_output(['tool']).decode().strip(), 'env': sorted(k for k in os.environ if 'OPT' in k)}
"""

NODE = """
const fs = require('fs');
exports.handler = async () => ({common: require('common'), versioned: require('versioned')});
"""


class LayersTest(unittest.TestCase):
    def fails(self, code, status, call, **args):
        with self.assertRaises(ClientError) as caught:
            call(**args)
        error = caught.exception.response
        self.assertEqual((error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]), (code, status), error)
        return error["Error"]["Message"]

    def publish(self, files, name=None, by=client, **more):
        return by.publish_layer_version(LayerName=name or "l-" + uuid.uuid4().hex[:10], Content={"ZipFile": package(files)}, **more)

    def make(self, runtime, code, layers, by=client, **more):
        name = "f-" + uuid.uuid4().hex[:10]
        answer = by.create_function(FunctionName=name, Runtime=runtime, Handler="app.handler", Role=ROLE, Timeout=30,
                                    Code={"ZipFile": package(code)}, Layers=layers, **more)
        self.addCleanup(by.delete_function, FunctionName=name)
        by.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        return name, answer

    def update(self, name, by=client, **change):
        by.update_function_configuration(FunctionName=name, **change)
        by.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    def invoke(self, name, by=client):
        answer = by.invoke(FunctionName=name, Payload=b"{}")
        result = json.loads(answer["Payload"].read() or "null")
        self.assertNotIn("FunctionError", answer, result)
        return result

    def test_life_of_a_layer(self):
        files = {"python/lib.py": "VALUE = 1\n"}
        one = self.publish(files, Description="d", LicenseInfo="MIT", CompatibleRuntimes=["python3.11", "python3.12"], CompatibleArchitectures=["x86_64"])
        name = one["LayerArn"].split(":")[-1]
        self.assertEqual((one["Version"], one["LayerVersionArn"], one["ResponseMetadata"]["HTTPStatusCode"]), (1, one["LayerArn"] + ":1", 201))
        self.assertEqual((one["Description"], one["LicenseInfo"], one["CompatibleRuntimes"], one["CompatibleArchitectures"]),
                         ("d", "MIT", ["python3.11", "python3.12"], ["x86_64"]))
        self.assertRegex(one["CreatedDate"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$")
        zipped = package(files)
        self.assertEqual((one["Content"]["CodeSize"], one["Content"]["CodeSha256"]),
                         (len(zipped), base64.b64encode(hashlib.sha256(zipped).digest()).decode()))
        with urllib.request.urlopen(one["Content"]["Location"]) as download:
            self.assertEqual(download.read(), zipped)

        two = self.publish({"python/lib.py": "VALUE = 2\n"}, name, CompatibleRuntimes=["nodejs22.x"])
        self.assertEqual(two["Version"], 2)
        self.assertEqual(self.publish(files, one["LayerArn"])["Version"], 3)
        for got in [client.get_layer_version(LayerName=name, VersionNumber=1), client.get_layer_version(LayerName=one["LayerArn"], VersionNumber=1),
                    client.get_layer_version_by_arn(Arn=one["LayerVersionArn"])]:
            for volatile in [got, one]:
                volatile.pop("ResponseMetadata", None)
                volatile["Content"].pop("Location", None)
            self.assertEqual(got, one)

        pages = client.get_paginator("list_layer_versions").paginate(LayerName=name, PaginationConfig={"PageSize": 2})
        self.assertEqual([v["Version"] for page in pages for v in page["LayerVersions"]], [3, 2, 1])
        listed = client.list_layer_versions(LayerName=name, CompatibleRuntime="python3.12")["LayerVersions"]
        self.assertEqual([v["LayerVersionArn"] for v in listed], [one["LayerVersionArn"]])
        self.assertNotIn("Content", listed[0])
        pages = list(client.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 1}))
        mine = [layer for page in pages for layer in page["Layers"] if layer["LayerName"] == name]
        self.assertEqual([(layer["LayerArn"], layer["LatestMatchingVersion"]["Version"]) for layer in mine], [(one["LayerArn"], 3)])
        mine = [layer["LatestMatchingVersion"]["Version"] for layer in client.list_layers(CompatibleRuntime="nodejs22.x")["Layers"] if layer["LayerName"] == name]
        self.assertEqual(mine, [2])

        for version in [1, 2, 3]:
            self.assertEqual(client.delete_layer_version(LayerName=name, VersionNumber=version)["ResponseMetadata"]["HTTPStatusCode"], 204)
        client.delete_layer_version(LayerName=name, VersionNumber=3)
        self.fails("ResourceNotFoundException", 404, client.get_layer_version, LayerName=name, VersionNumber=3)
        self.fails("ResourceNotFoundException", 404, client.get_layer_version_by_arn, Arn=one["LayerVersionArn"])
        self.assertEqual(client.list_layer_versions(LayerName=name)["LayerVersions"], [])
        self.assertEqual(self.publish(files, name)["Version"], 4)
        self.fails("InvalidParameterValueException", 400, client.publish_layer_version, LayerName=name, Content={"S3Bucket": "bucket", "S3Key": "key"})
        self.fails("InvalidParameterValueException", 400, client.publish_layer_version, LayerName=name, Content={"ZipFile": b"no zip"})

    def test_python(self):
        one = self.publish({"python/lib.py": "VALUE = 'one'\n", "python/lib/python3.11/site-packages/sited.py": "VALUE = 'site'\n", "bin/tool": "#!/bin/sh\necho one\n"})
        two = self.publish({"python/lib.py": "VALUE = 'two'\n", "bin/tool": "#!/bin/sh\necho two\n", "extra": ""})
        arns = [one["LayerVersionArn"], two["LayerVersionArn"]]
        name, created = self.make("python3.11", {"app.py": PYTHON}, arns)
        want = [{"Arn": layer["LayerVersionArn"], "CodeSize": layer["Content"]["CodeSize"]} for layer in [one, two]]
        self.assertEqual(created["Layers"], want)
        self.assertEqual(client.get_function_configuration(FunctionName=name)["Layers"], want)
        self.assertEqual([f["Layers"] for f in client.list_functions()["Functions"] if f["FunctionName"] == name], [want])
        self.assertEqual(self.invoke(name), {"lib": "two", "sited": "site", "opt": ["bin", "extra", "python"], "tool": "two", "env": []})
        version = client.publish_version(FunctionName=name)
        self.assertEqual(version["Layers"], want)

        self.update(name, Layers=arns[::-1])
        self.assertEqual(self.invoke(name)["lib"], "one")
        self.assertEqual(self.invoke(name + ":1")["lib"], "two")
        # Deleted layers go on working, and are reported.
        for layer in [one, two]:
            client.delete_layer_version(LayerName=layer["LayerArn"], VersionNumber=1)
        client.update_function_code(FunctionName=name, ZipFile=package({"app.py": PYTHON + "# changed\n"}))
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        self.assertEqual(self.invoke(name)["lib"], "one")
        self.assertEqual(client.get_function(FunctionName=name)["Configuration"]["Layers"], want[::-1])
        self.update(name, Layers=[])
        self.assertNotIn("Layers", client.get_function_configuration(FunctionName=name))
        answer = client.invoke(FunctionName=name, Payload=b"{}")
        self.assertIn("No module named 'lib'", json.loads(answer["Payload"].read())["errorMessage"])

    def test_node(self):
        one = self.publish({"nodejs/node_modules/common/index.js": "module.exports = 'one'\n",
                            "nodejs/node22/node_modules/versioned/index.js": "module.exports = 22\n"})
        name, _ = self.make("nodejs22.x", {"app.js": NODE}, [one["LayerVersionArn"]])
        self.assertEqual(self.invoke(name), {"common": "one", "versioned": 22})

    def test_bootstrap(self):
        bootstrap = """#!/bin/sh
while :; do
  exec 3<>/dev/null
  python3 - <<'END'
import os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
event = urllib.request.urlopen(api + "next")
urllib.request.urlopen(api + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", b'"from a layer"')
END
done
"""
        one = self.publish({"bootstrap": bootstrap})
        name, _ = self.make("provided.al2023", {"readme": "nothing to run"}, [one["LayerVersionArn"]])
        self.assertEqual(self.invoke(name), "from a layer")
        self.update(name, Layers=[])
        answer = client.invoke(FunctionName=name, Payload=b"{}")
        self.assertIn("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]", json.loads(answer["Payload"].read())["errorMessage"])

    def test_refusals(self):
        arns = [self.publish({"f": str(n)})["LayerVersionArn"] for n in range(6)]
        name, _ = self.make("python3.11", {"app.py": PYTHON}, arns[:5])
        second = self.publish({"f": "x"}, arns[0].rsplit(":", 1)[0])["LayerVersionArn"]
        for layers, message in [
            (arns, "Cannot reference more than 5 layers."),
            ([arns[0], arns[0]], "Two different versions of the same layer are not allowed to be referenced in the same function. "
                                 + arns[0] + " and " + arns[0] + " are versions of the same layer."),
            ([arns[0], arns[1], second], "Two different versions of the same layer are not allowed to be referenced in the same function. "
                                         + arns[0] + " and " + second + " are versions of the same layer."),
            ([arns[0][:-1] + "9"], "Layer version " + arns[0][:-1] + "9 does not exist."),
        ]:
            self.assertEqual(self.fails("InvalidParameterValueException", 400, client.update_function_configuration, FunctionName=name, Layers=layers), message)
        self.fails("ValidationException", 400, client.update_function_configuration, FunctionName=name, Layers=[arns[0].rsplit(":", 1)[0]])

    def test_two_projects(self):
        other = connect(os.environ["OTHER_ACCESS_KEY_ID"], os.environ["OTHER_SECRET_ACCESS_KEY"])
        layer = self.publish({"nodejs/node_modules/common/index.js": "module.exports = 'shared'\n", "nodejs/node_modules/versioned/index.js": "module.exports = 0\n"})
        arn, number = layer["LayerVersionArn"], {"LayerName": layer["LayerArn"], "VersionNumber": 1}
        create = {"FunctionName": "borrower", "Runtime": "nodejs22.x", "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": package({"app.js": NODE})}, "Layers": [arn]}
        for call, args in [(other.create_function, create), (other.get_layer_version, number), (other.get_layer_version_by_arn, {"Arn": arn})]:
            message = self.fails("AccessDeniedException", 403, call, **args)
            self.assertIn("is not authorized to perform: lambda:GetLayerVersion on resource: " + arn + " because no resource-based policy allows the lambda:GetLayerVersion action", message)
        self.fails("AccessDeniedException", 403, other.delete_layer_version, **number)
        self.fails("AccessDeniedException", 403, other.list_layer_versions, LayerName=layer["LayerArn"])
        message = self.fails("ResourceNotFoundException", 404, client.get_layer_version_policy, **number)
        self.assertEqual(message, "No policy is associated with the given resource.")

        added = client.add_layer_version_permission(StatementId="borrow", Action="lambda:GetLayerVersion", Principal=os.environ["OTHER_PROJECT"], **number)
        statement = {"Sid": "borrow", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::%s:root" % os.environ["OTHER_PROJECT"]},
                     "Action": "lambda:GetLayerVersion", "Resource": arn}
        self.assertEqual(json.loads(added["Statement"]), statement)
        self.fails("ResourceConflictException", 409, client.add_layer_version_permission, StatementId="borrow", Action="lambda:GetLayerVersion", Principal="*", **number)
        policy = client.get_layer_version_policy(**number)
        self.assertEqual((json.loads(policy["Policy"])["Statement"], policy["RevisionId"]), ([statement], added["RevisionId"]))
        self.assertEqual(other.get_layer_version(**number)["Content"]["CodeSha256"], layer["Content"]["CodeSha256"])
        name, _ = self.make("nodejs22.x", {"app.js": NODE}, [arn], other)
        self.assertEqual(self.invoke(name, other), {"common": "shared", "versioned": 0})

        self.fails("PreconditionFailedException", 412, client.remove_layer_version_permission, StatementId="borrow", RevisionId=str(uuid.uuid4()), **number)
        client.remove_layer_version_permission(StatementId="borrow", RevisionId=added["RevisionId"], **number)
        self.fails("ResourceNotFoundException", 404, client.remove_layer_version_permission, StatementId="borrow", **number)
        self.fails("AccessDeniedException", 403, other.create_function, **create)
        # Who has it goes on.
        self.update(name, other, Description="changed")
        self.assertEqual(self.invoke(name, other), {"common": "shared", "versioned": 0})

    def test_tags(self):
        name, created = self.make("python3.11", {"app.py": PYTHON}, [], Tags={"a": "1"})
        arn = created["FunctionArn"]
        self.assertEqual(client.get_function(FunctionName=name)["Tags"], {"a": "1"})
        client.tag_resource(Resource=arn, Tags={"a": "2", "b c": "é"})
        self.assertEqual(client.list_tags(Resource=arn)["Tags"], {"a": "2", "b c": "é"})
        client.untag_resource(Resource=arn, TagKeys=["a", "nope"])
        self.assertEqual(client.get_function(FunctionName=name)["Tags"], {"b c": "é"})
        message = self.fails("InvalidParameterValueException", 400, client.tag_resource, Resource=arn, Tags={"k%d" % n: "v" for n in range(50)})
        self.assertEqual(message, "Number of tags exceeds resource tag limit.")
        message = self.fails("InvalidParameterValueException", 400, client.tag_resource, Resource=arn + ":$LATEST", Tags={"a": "1"})
        self.assertEqual(message, "Tags on function aliases and versions are not supported. Please specify a function ARN.")
        self.fails("InvalidParameterValueException", 400, client.tag_resource, Resource=arn, Tags={"aws:a": "1"})
        self.fails("ValidationException", 400, client.list_tags, Resource="arn:aws:lambda:x")
        self.fails("ResourceNotFoundException", 404, client.list_tags, Resource=arn + "x")
        client.untag_resource(Resource=arn, TagKeys=["b c"])
        self.assertNotIn("Tags", client.get_function(FunctionName=name))


if __name__ == "__main__":
    unittest.main()
