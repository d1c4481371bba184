"""Drives API Gateway's control API, version 2 and what version 1 has of API keys and usage plans, with an unmodified boto3. Settings come from the
AWS_ environment variables."""

import os
import time
import unittest
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["HANSOM_ENDPOINT"]
CONFIG = Config(retries={"max_attempts": 0})
client = boto3.client("apigatewayv2", endpoint_url=ENDPOINT, config=CONFIG)
v1 = boto3.client("apigateway", endpoint_url=ENDPOINT, config=CONFIG)
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
INVOCATIONS = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"


class Case(unittest.TestCase):
    def fails(self, code, status, f, **kwargs):
        with self.assertRaises(ClientError) as caught:
            f(**kwargs)
        response = caught.exception.response
        self.assertEqual(response["Error"]["Code"], code)
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], status)
        return response["Error"]["Message"]

    def has(self, got, **want):
        for key, value in want.items():
            self.assertEqual(got.get(key), value, key)


class HTTPAPITest(Case):
    def setUp(self):
        self.api = client.create_api(Name="pets", ProtocolType="HTTP")["ApiId"]

    def tearDown(self):
        client.delete_api(ApiId=self.api)

    def test_api(self):
        got = client.get_api(ApiId=self.api)
        self.has(got, Name="pets", ProtocolType="HTTP", RouteSelectionExpression="$request.method $request.path", ApiKeySelectionExpression="$request.header.x-api-key",
                 DisableExecuteApiEndpoint=False, Tags={})
        self.assertRegex(got["ApiId"], "^[a-z0-9]{10}$")
        self.assertRegex(got["ApiEndpoint"], f"^http://{self.api}.execute-api.localhost:[0-9]+$")
        self.assertLess(abs(got["CreatedDate"].timestamp() - time.time()), 60)
        cors = {"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET", "POST"], "AllowHeaders": ["x-a"], "ExposeHeaders": ["x-b"], "MaxAge": 9, "AllowCredentials": True}
        self.has(client.update_api(ApiId=self.api, Name="animals", Description="all", Version="2", CorsConfiguration=cors), Name="animals", Description="all", Version="2",
                 CorsConfiguration=cors)
        client.delete_cors_configuration(ApiId=self.api)
        self.assertNotIn("CorsConfiguration", client.get_api(ApiId=self.api))
        self.assertIn(self.api, [a["ApiId"] for page in client.get_paginator("get_apis").paginate(PaginationConfig={"PageSize": 1}) for a in page["Items"]])
        self.assertEqual(self.fails("NotFoundException", 404, client.get_api, ApiId="none"), "Invalid API identifier specified 000000000000:none")
        self.fails("BadRequestException", 400, client.create_api, Name="x", ProtocolType="WEBSOCKET")
        self.fails("BadRequestException", 400, client.create_model, ApiId=self.api, Name="m", Schema="{}")
        self.fails("BadRequestException", 400, client.get_vpc_links)

    def test_tags(self):
        arn = f"arn:aws:apigateway:us-east-1::/apis/{self.api}"
        client.tag_resource(ResourceArn=arn, Tags={"team": "blue", "stage": "test"})
        client.untag_resource(ResourceArn=arn, TagKeys=["stage"])
        self.assertEqual(client.get_tags(ResourceArn=arn)["Tags"], {"team": "blue"})
        self.assertEqual(client.get_api(ApiId=self.api)["Tags"], {"team": "blue"})

    def integration(self, **kwargs):
        return client.create_integration(**{**dict(ApiId=self.api, IntegrationType="AWS_PROXY", IntegrationUri=INVOCATIONS, PayloadFormatVersion="2.0"), **kwargs})

    def test_integrations(self):
        i = self.integration(IntegrationMethod="POST", TimeoutInMillis=5000, Description="d", CredentialsArn="arn:aws:iam::000000000000:role/r",
                             RequestParameters={"append:header.a": "$request.path.id"}, ResponseParameters={"404": {"overwrite:statuscode": "200"}})
        self.has(i, IntegrationType="AWS_PROXY", IntegrationUri=INVOCATIONS, PayloadFormatVersion="2.0", ConnectionType="INTERNET", TimeoutInMillis=5000,
                 RequestParameters={"append:header.a": "$request.path.id"}, ResponseParameters={"404": {"overwrite:statuscode": "200"}})
        changed = client.update_integration(ApiId=self.api, IntegrationId=i["IntegrationId"], RequestParameters={"append:header.a": "", "remove:header.b": "''"}, TimeoutInMillis=50)
        self.has(changed, RequestParameters={"remove:header.b": "''"}, TimeoutInMillis=50, Description="d")
        http = client.create_integration(ApiId=self.api, IntegrationType="HTTP_PROXY", IntegrationMethod="ANY", IntegrationUri="https://backend.example/{proxy}")
        self.has(http, PayloadFormatVersion="1.0", TimeoutInMillis=30000)
        sqs = client.create_integration(ApiId=self.api, IntegrationType="AWS_PROXY", IntegrationSubtype="SQS-SendMessage", PayloadFormatVersion="1.0",
                                        RequestParameters={"QueueUrl": f"{ENDPOINT}/000000000000/q", "MessageBody": "$request.body"})
        self.assertEqual({x["IntegrationId"] for x in client.get_integrations(ApiId=self.api)["Items"]}, {x["IntegrationId"] for x in (i, http, sqs)})
        self.fails("BadRequestException", 400, self.integration, IntegrationUri="arn:aws:states:us-east-1:000000000000:stateMachine:x")
        self.fails("BadRequestException", 400, self.integration, ConnectionType="VPC_LINK", ConnectionId="x")
        client.delete_integration(ApiId=self.api, IntegrationId=http["IntegrationId"])
        self.fails("NotFoundException", 404, client.get_integration, ApiId=self.api, IntegrationId=http["IntegrationId"])

    def test_routes(self):
        i = self.integration()["IntegrationId"]
        jwt = client.create_authorizer(ApiId=self.api, Name="tokens", AuthorizerType="JWT", IdentitySource=["$request.header.Authorization"],
                                       JwtConfiguration={"Issuer": "https://issuer.example", "Audience": ["me"]})
        self.has(jwt, Name="tokens", AuthorizerType="JWT", JwtConfiguration={"Issuer": "https://issuer.example", "Audience": ["me"]})
        custom = client.create_authorizer(ApiId=self.api, Name="f", AuthorizerType="REQUEST", IdentitySource=["$request.header.x"], AuthorizerUri=INVOCATIONS,
                                          AuthorizerPayloadFormatVersion="2.0", EnableSimpleResponses=True)
        self.has(custom, AuthorizerResultTtlInSeconds=300, EnableSimpleResponses=True)
        self.has(client.update_authorizer(ApiId=self.api, AuthorizerId=custom["AuthorizerId"], AuthorizerResultTtlInSeconds=0), AuthorizerResultTtlInSeconds=0)
        r = client.create_route(ApiId=self.api, RouteKey="GET /pets/{id}", Target="integrations/" + i, AuthorizationType="JWT", AuthorizerId=jwt["AuthorizerId"],
                                AuthorizationScopes=["read"], ApiKeyRequired=True, OperationName="getPet")
        self.has(r, RouteKey="GET /pets/{id}", Target="integrations/" + i, AuthorizationType="JWT", AuthorizationScopes=["read"], ApiKeyRequired=True, OperationName="getPet")
        message = self.fails("ConflictException", 409, client.create_route, ApiId=self.api, RouteKey="GET /pets/{id}")
        self.assertEqual(message, "Route with key GET /pets/{id} already exists for this API")
        self.fails("BadRequestException", 400, client.create_route, ApiId=self.api, RouteKey="GET pets")
        self.assertEqual(self.fails("ConflictException", 409, client.delete_integration, ApiId=self.api, IntegrationId=i),
                         f"Cannot delete Integration because it is referenced by the following Routes with Ids: [{r['RouteId']}]")
        self.assertEqual(self.fails("ConflictException", 409, client.delete_authorizer, ApiId=self.api, AuthorizerId=jwt["AuthorizerId"]),
                         "Cannot delete authorizer 'tokens', is referenced in route: GET /pets/{id}")
        self.has(client.update_route(ApiId=self.api, RouteId=r["RouteId"], AuthorizationType="NONE", RouteKey="ANY /{proxy+}"), AuthorizationType="NONE", RouteKey="ANY /{proxy+}",
                 AuthorizerId=None)
        client.delete_authorizer(ApiId=self.api, AuthorizerId=jwt["AuthorizerId"])
        self.assertEqual([z["Name"] for z in client.get_authorizers(ApiId=self.api)["Items"]], ["f"])
        for n in range(3):
            client.create_route(ApiId=self.api, RouteKey=f"GET /{n}", Target="integrations/" + i)
        pages = list(client.get_paginator("get_routes").paginate(ApiId=self.api, PaginationConfig={"PageSize": 2}))
        self.assertEqual(sorted(r["RouteKey"] for page in pages for r in page["Items"]), ["ANY /{proxy+}", "GET /0", "GET /1", "GET /2"])
        self.assertEqual(len(pages), 2)
        client.delete_route(ApiId=self.api, RouteId=r["RouteId"])
        self.fails("NotFoundException", 404, client.get_route, ApiId=self.api, RouteId=r["RouteId"])

    def test_stages(self):
        i = self.integration()["IntegrationId"]
        client.create_route(ApiId=self.api, RouteKey="GET /a", Target="integrations/" + i)
        log = {"DestinationArn": "arn:aws:logs:us-east-1:000000000000:log-group:/access", "Format": '{"id":"$context.requestId"}'}
        settings = {"ThrottlingRateLimit": 10.5, "ThrottlingBurstLimit": 20, "DetailedMetricsEnabled": True}
        st = client.create_stage(ApiId=self.api, StageName="prod", StageVariables={"a": "1", "b": "2"}, AccessLogSettings=log, DefaultRouteSettings=settings,
                                 RouteSettings={"GET /a": {"ThrottlingRateLimit": 1}}, Tags={"x": "y"}, Description="d")
        self.has(st, StageName="prod", AutoDeploy=False, StageVariables={"a": "1", "b": "2"}, AccessLogSettings=log, DefaultRouteSettings=settings, Tags={"x": "y"})
        self.assertEqual(st["RouteSettings"]["GET /a"]["ThrottlingRateLimit"], 1)
        self.assertEqual(self.fails("ConflictException", 409, client.create_stage, ApiId=self.api, StageName="prod"), "Stage already exists")
        d = client.create_deployment(ApiId=self.api, StageName="prod", Description="first")
        self.has(d, DeploymentStatus="DEPLOYED", AutoDeployed=False, Description="first")
        self.has(client.get_stage(ApiId=self.api, StageName="prod"), DeploymentId=d["DeploymentId"])
        self.assertEqual(self.fails("BadRequestException", 400, client.delete_deployment, ApiId=self.api, DeploymentId=d["DeploymentId"]),
                         "Active stages pointing to this deployment must be moved or deleted")
        self.has(client.update_stage(ApiId=self.api, StageName="prod", StageVariables={"b": "", "c": "3"}), StageVariables={"a": "1", "c": "3"}, AccessLogSettings=log)
        client.delete_route_settings(ApiId=self.api, StageName="prod", RouteKey="GET /a")
        client.delete_access_log_settings(ApiId=self.api, StageName="prod")
        self.has(client.get_stage(ApiId=self.api, StageName="prod"), RouteSettings={}, AccessLogSettings=None)
        auto = client.create_stage(ApiId=self.api, StageName="$default", AutoDeploy=True)
        first = auto["DeploymentId"]
        client.create_route(ApiId=self.api, RouteKey="GET /b", Target="integrations/" + i)
        now = client.get_stage(ApiId=self.api, StageName="$default")
        self.assertNotEqual(now["DeploymentId"], first)
        self.assertEqual(now["LastDeploymentStatusMessage"], f"Successfully deployed stage with deployment ID '{now['DeploymentId']}'")
        self.assertTrue(client.get_deployment(ApiId=self.api, DeploymentId=now["DeploymentId"])["AutoDeployed"])
        client.reset_authorizers_cache(ApiId=self.api, StageName="$default")
        client.update_deployment(ApiId=self.api, DeploymentId=d["DeploymentId"], Description="one")
        self.assertEqual([x["Description"] for x in client.get_deployments(ApiId=self.api)["Items"] if not x["AutoDeployed"]], ["one"])
        self.assertEqual([x["StageName"] for x in client.get_stages(ApiId=self.api)["Items"]], ["$default", "prod"])
        client.delete_stage(ApiId=self.api, StageName="prod")
        client.delete_deployment(ApiId=self.api, DeploymentId=d["DeploymentId"])
        self.fails("NotFoundException", 404, client.get_stage, ApiId=self.api, StageName="prod")

    def test_domains(self):
        client.create_stage(ApiId=self.api, StageName="prod", AutoDeploy=True)
        name = f"{uuid.uuid4().hex[:8]}.example.com"
        d = client.create_domain_name(DomainName=name, DomainNameConfigurations=[{"CertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/1", "EndpointType": "REGIONAL",
                                                                                "SecurityPolicy": "TLS_1_2"}], Tags={"a": "b"})
        self.has(d, DomainName=name, ApiMappingSelectionExpression="$request.basepath", Tags={"a": "b"})
        self.has(d["DomainNameConfigurations"][0], ApiGatewayDomainName="localhost", DomainNameStatus="AVAILABLE", EndpointType="REGIONAL")
        self.assertEqual(self.fails("ConflictException", 409, client.create_domain_name, DomainName=name), "The domain name you provided already exists.")
        m = client.create_api_mapping(DomainName=name, ApiId=self.api, Stage="prod", ApiMappingKey="v1/pets")
        self.has(m, ApiId=self.api, Stage="prod", ApiMappingKey="v1/pets")
        self.assertEqual(self.fails("ConflictException", 409, client.create_api_mapping, DomainName=name, ApiId=self.api, Stage="prod", ApiMappingKey="v1/pets"),
                         "ApiMapping key already exists for this domain name")
        self.fails("BadRequestException", 400, client.delete_api, ApiId=self.api)
        self.has(client.update_api_mapping(DomainName=name, ApiMappingId=m["ApiMappingId"], ApiId=self.api, ApiMappingKey="v2"), ApiMappingKey="v2", Stage="prod")
        self.assertEqual([x["ApiMappingKey"] for x in client.get_api_mappings(DomainName=name)["Items"]], ["v2"])
        self.has(client.get_api_mapping(DomainName=name, ApiMappingId=m["ApiMappingId"]), ApiMappingKey="v2")
        client.update_domain_name(DomainName=name, DomainNameConfigurations=[{"CertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/2"}])
        self.assertEqual(client.get_domain_name(DomainName=name)["DomainNameConfigurations"][0]["CertificateArn"], "arn:aws:acm:us-east-1:000000000000:certificate/2")
        self.assertIn(name, [x["DomainName"] for x in client.get_domain_names()["Items"]])
        client.delete_api_mapping(DomainName=name, ApiMappingId=m["ApiMappingId"])
        client.delete_domain_name(DomainName=name)
        self.fails("NotFoundException", 404, client.get_domain_name, DomainName=name)

    def test_quick_create(self):
        quick = client.create_api(Name="quick", ProtocolType="HTTP", Target=FUNCTION)["ApiId"]
        [route] = client.get_routes(ApiId=quick)["Items"]
        [integration] = client.get_integrations(ApiId=quick)["Items"]
        self.has(route, RouteKey="$default", ApiGatewayManaged=True, Target="integrations/" + integration["IntegrationId"])
        self.has(integration, IntegrationType="AWS_PROXY", PayloadFormatVersion="2.0", ApiGatewayManaged=True)
        self.has(client.get_stage(ApiId=quick, StageName="$default"), AutoDeploy=True, ApiGatewayManaged=True)
        self.fails("BadRequestException", 400, client.delete_route, ApiId=quick, RouteId=route["RouteId"])
        client.update_api(ApiId=quick, Target="https://backend.example", RouteKey="ANY /{proxy+}")
        self.has(client.get_integrations(ApiId=quick)["Items"][0], IntegrationType="HTTP_PROXY", IntegrationMethod="ANY", IntegrationUri="https://backend.example")
        client.delete_api(ApiId=quick)


class UsageTest(Case):
    def test_keys(self):
        name = "k-" + uuid.uuid4().hex[:8]
        value = uuid.uuid4().hex
        k = v1.create_api_key(name=name, description="d", enabled=True, value=value, tags={"a": "b"})
        self.has(k, name=name, description="d", enabled=True, value=value, stageKeys=[], tags={"a": "b"})
        self.assertLess(abs(k["createdDate"].timestamp() - time.time()), 60)
        self.assertNotIn("value", v1.get_api_key(apiKey=k["id"]))
        self.assertEqual(v1.get_api_key(apiKey=k["id"], includeValue=True)["value"], value)
        self.assertEqual(self.fails("ConflictException", 409, v1.create_api_key, value=value), "API Key already exists")
        self.assertEqual([x["id"] for x in v1.get_api_keys(nameQuery=name[:6], includeValues=True)["items"]], [k["id"]])
        self.has(v1.update_api_key(apiKey=k["id"], patchOperations=[{"op": "replace", "path": "/enabled", "value": "false"}]), enabled=False)
        arn = f"arn:aws:apigateway:us-east-1::/apikeys/{k['id']}"
        v1.tag_resource(resourceArn=arn, tags={"c": "d"})
        v1.untag_resource(resourceArn=arn, tagKeys=["a"])
        self.assertEqual(v1.get_tags(resourceArn=arn)["tags"], {"c": "d"})
        done = v1.import_api_keys(format="csv", body=f"name,key\n{name}-2,{uuid.uuid4().hex}\n{name}-3,short\n".encode())
        self.assertEqual((len(done["ids"]), len(done["warnings"])), (1, 1))
        for id in [k["id"], *done["ids"]]:
            v1.delete_api_key(apiKey=id)
        self.assertEqual(self.fails("NotFoundException", 404, v1.get_api_key, apiKey=k["id"]), "Invalid API Key identifier specified")

    def test_plans(self):
        api = client.create_api(Name="pets", ProtocolType="HTTP", Target=FUNCTION)["ApiId"]
        stage = {"apiId": api, "stage": "$default", "throttle": {"/pets/GET": {"rateLimit": 1.5, "burstLimit": 2}}}
        p = v1.create_usage_plan(name="gold", apiStages=[stage], throttle={"rateLimit": 10.0, "burstLimit": 20}, quota={"limit": 100, "offset": 0, "period": "DAY"}, tags={"a": "b"})
        self.has(p, name="gold", apiStages=[stage], throttle={"rateLimit": 10.0, "burstLimit": 20}, quota={"limit": 100, "offset": 0, "period": "DAY"})
        k = v1.create_api_key(name="k", enabled=True)
        self.has(v1.create_usage_plan_key(usagePlanId=p["id"], keyId=k["id"], keyType="API_KEY"), id=k["id"], type="API_KEY", value=k["value"])
        self.assertEqual([x["id"] for x in v1.get_usage_plan_keys(usagePlanId=p["id"])["items"]], [k["id"]])
        self.has(v1.get_usage_plan_key(usagePlanId=p["id"], keyId=k["id"]), name="k")
        self.assertEqual([x["id"] for x in v1.get_usage_plans(keyId=k["id"])["items"]], [p["id"]])
        changed = v1.update_usage_plan(usagePlanId=p["id"], patchOperations=[
            {"op": "replace", "path": "/quota/limit", "value": "5"}, {"op": "remove", "path": "/throttle"},
            {"op": "replace", "path": f"/apiStages/{api}:$default/throttle/~1pets/GET/rateLimit", "value": "3"}])
        self.has(changed, quota={"limit": 5, "offset": 0, "period": "DAY"}, throttle=None)
        self.assertEqual(changed["apiStages"][0]["throttle"], {"/pets/GET": {"rateLimit": 3.0, "burstLimit": 2}})
        today = time.strftime("%Y-%m-%d", time.gmtime())
        usage = v1.get_usage(usagePlanId=p["id"], startDate="2026-01-01", endDate="2026-01-02")
        self.has(usage, usagePlanId=p["id"], startDate="2026-01-01", endDate="2026-01-02", items={k["id"]: [[0, 5], [0, 5]]})
        v1.update_usage(usagePlanId=p["id"], keyId=k["id"], patchOperations=[{"op": "replace", "path": "/remaining", "value": "7"}])
        self.assertGreaterEqual(v1.get_usage(usagePlanId=p["id"], startDate=today, endDate=today)["items"][k["id"]][0][1], 5)
        self.assertEqual(self.fails("BadRequestException", 400, v1.delete_usage_plan, usagePlanId=p["id"]),
                         f"Cannot delete Usage Plan {p['id']} because there are API Stages associated with it, including {api}:$default")
        client.delete_api(ApiId=api)
        self.assertEqual(v1.get_usage_plan(usagePlanId=p["id"])["apiStages"], [])
        v1.delete_usage_plan_key(usagePlanId=p["id"], keyId=k["id"])
        v1.delete_usage_plan(usagePlanId=p["id"])
        v1.delete_api_key(apiKey=k["id"])
        self.assertEqual(self.fails("NotFoundException", 404, v1.get_usage_plan, usagePlanId=p["id"]), "Invalid Usage Plan ID specified")

    def test_refused(self):
        for f, kwargs in [(v1.create_rest_api, {"name": "x"}), (v1.get_rest_apis, {}), (v1.get_vpc_links, {}), (v1.get_account, {}), (v1.get_client_certificates, {})]:
            self.assertIn("is not supported by this server", self.fails("BadRequestException", 400, f, **kwargs))


unittest.main()
