package apigatewayv2

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/apigatewayv2"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2/types"
	"github.com/aws/smithy-go"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
)

// client is AWS's own client of the service.
func client(t *testing.T) *sdk.Client {
	s, _ := service(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), awstest.Callers[""], "request-1")))
	}))
	t.Cleanup(server.Close)
	return sdk.New(sdk.Options{Region: hansom.DefaultRegion, BaseEndpoint: &server.URL, RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
}

func must[T any](t *testing.T) func(x T, err error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// TestSDK walks through the life of an API with AWS's client for Go.
func TestSDK(t *testing.T) {
	c, ctx := client(t), t.Context()
	const f = "arn:aws:lambda:us-east-1:000000000000:function:f"
	a := must[*sdk.CreateApiOutput](t)(c.CreateApi(ctx, &sdk.CreateApiInput{Name: aws.String("pets"), ProtocolType: types.ProtocolTypeHttp,
		CorsConfiguration: &types.Cors{AllowOrigins: []string{"*"}, MaxAge: aws.Int32(7)}, Tags: map[string]string{"team": "blue"}}))
	if *a.ApiEndpoint != "http://"+*a.ApiId+".execute-api.localhost:8080" || a.CreatedDate.Year() != 2026 || *a.CorsConfiguration.MaxAge != 7 || a.Tags["team"] != "blue" {
		t.Errorf("%+v", a)
	}
	i := must[*sdk.CreateIntegrationOutput](t)(c.CreateIntegration(ctx, &sdk.CreateIntegrationInput{ApiId: a.ApiId, IntegrationType: types.IntegrationTypeAwsProxy, IntegrationUri: aws.String(f),
		PayloadFormatVersion: aws.String("2.0"), TimeoutInMillis: aws.Int32(1000), ResponseParameters: map[string]map[string]string{"200": {"append:header.a": "b"}}}))
	if *i.TimeoutInMillis != 1000 || i.ConnectionType != types.ConnectionTypeInternet || i.ResponseParameters["200"]["append:header.a"] != "b" {
		t.Errorf("%+v", i)
	}
	z := must[*sdk.CreateAuthorizerOutput](t)(c.CreateAuthorizer(ctx, &sdk.CreateAuthorizerInput{ApiId: a.ApiId, Name: aws.String("who"), AuthorizerType: types.AuthorizerTypeJwt,
		IdentitySource: []string{"$request.header.Authorization"}, JwtConfiguration: &types.JWTConfiguration{Issuer: aws.String("https://issuer.example"), Audience: []string{"me"}}}))
	if *z.JwtConfiguration.Issuer != "https://issuer.example" || z.AuthorizerResultTtlInSeconds != nil {
		t.Errorf("%+v", z)
	}
	r := must[*sdk.CreateRouteOutput](t)(c.CreateRoute(ctx, &sdk.CreateRouteInput{ApiId: a.ApiId, RouteKey: aws.String("GET /pets/{id}"), Target: aws.String("integrations/" + *i.IntegrationId),
		AuthorizationType: types.AuthorizationTypeJwt, AuthorizerId: z.AuthorizerId, AuthorizationScopes: []string{"read"}}))
	if *r.AuthorizerId != *z.AuthorizerId || !slices.Equal(r.AuthorizationScopes, []string{"read"}) {
		t.Errorf("%+v", r)
	}
	st := must[*sdk.CreateStageOutput](t)(c.CreateStage(ctx, &sdk.CreateStageInput{ApiId: a.ApiId, StageName: aws.String("$default"), AutoDeploy: aws.Bool(true), StageVariables: map[string]string{"a": "b"},
		AccessLogSettings: &types.AccessLogSettings{DestinationArn: aws.String("arn:aws:logs:us-east-1:000000000000:log-group:a"), Format: aws.String(strings.Repeat("$context.requestId ", 160))},
		RouteSettings:     map[string]types.RouteSettings{*r.RouteKey: {ThrottlingRateLimit: aws.Float64(1.5), ThrottlingBurstLimit: aws.Int32(3)}}}))
	if *st.DeploymentId == "" || *st.RouteSettings[*r.RouteKey].ThrottlingRateLimit != 1.5 || st.LastUpdatedDate.Year() != 2026 {
		t.Errorf("%+v", st)
	}
	must[*sdk.DeleteRouteSettingsOutput](t)(c.DeleteRouteSettings(ctx, &sdk.DeleteRouteSettingsInput{ApiId: a.ApiId, StageName: st.StageName, RouteKey: r.RouteKey}))
	if d := must[*sdk.GetDeploymentOutput](t)(c.GetDeployment(ctx, &sdk.GetDeploymentInput{ApiId: a.ApiId, DeploymentId: st.DeploymentId})); d.DeploymentStatus != types.DeploymentStatusDeployed || !*d.AutoDeployed {
		t.Errorf("%+v", d)
	}
	var conflict smithy.APIError // the model does not list it for this operation
	if _, err := c.DeleteIntegration(ctx, &sdk.DeleteIntegrationInput{ApiId: a.ApiId, IntegrationId: i.IntegrationId}); !errors.As(err, &conflict) ||
		conflict.ErrorCode() != "ConflictException" || conflict.ErrorMessage() != "Cannot delete Integration because it is referenced by the following Routes with Ids: ["+*r.RouteId+"]" {
		t.Errorf("delete an integration in use: %v", err)
	}
	var missing *types.NotFoundException
	if _, err := c.GetRoute(ctx, &sdk.GetRouteInput{ApiId: a.ApiId, RouteId: aws.String("none")}); !errors.As(err, &missing) {
		t.Errorf("no route: %v", err)
	}
	var bad *types.BadRequestException
	if _, err := c.CreateVpcLink(ctx, &sdk.CreateVpcLinkInput{Name: aws.String("x"), SubnetIds: []string{"s"}}); !errors.As(err, &bad) {
		t.Errorf("a VPC link: %v", err)
	}
	if _, err := c.CreatePortal(ctx, &sdk.CreatePortalInput{Authorization: &types.Authorization{None: &types.None{}}, EndpointConfiguration: &types.EndpointConfigurationRequest{None: &types.None{}},
		PortalContent: &types.PortalContent{DisplayName: aws.String("x"), Theme: &types.PortalTheme{CustomColors: &types.CustomColors{AccentColor: aws.String("#fff"), BackgroundColor: aws.String("#fff"),
			ErrorValidationColor: aws.String("#fff"), HeaderColor: aws.String("#fff"), NavigationColor: aws.String("#fff"), TextColor: aws.String("#fff")}}}}); !errors.As(err, &bad) {
		t.Errorf("a portal: %v", err)
	}
	if _, err := c.CreateApi(ctx, &sdk.CreateApiInput{Name: aws.String("x"), ProtocolType: types.ProtocolTypeHttp, IpAddressType: types.IpAddressTypeDualstack}); !errors.As(err, &bad) {
		t.Errorf("an API with IpAddressType dualstack: %v", err)
	}
	d := must[*sdk.CreateDomainNameOutput](t)(c.CreateDomainName(ctx, &sdk.CreateDomainNameInput{DomainName: aws.String("api.example.com"), RoutingMode: types.RoutingModeApiMappingOnly,
		DomainNameConfigurations: []types.DomainNameConfiguration{{CertificateArn: aws.String("arn:aws:acm:us-east-1:000000000000:certificate/1"), EndpointType: types.EndpointTypeRegional}}}))
	m := must[*sdk.CreateApiMappingOutput](t)(c.CreateApiMapping(ctx, &sdk.CreateApiMappingInput{DomainName: d.DomainName, ApiId: a.ApiId, Stage: st.StageName}))
	if *m.ApiMappingKey != "" || *m.Stage != "$default" || d.DomainNameConfigurations[0].DomainNameStatus != types.DomainNameStatusAvailable {
		t.Errorf("%+v %+v", d, m)
	}
	arn := aws.String("arn:aws:apigateway:us-east-1::/apis/" + *a.ApiId + "/stages/$default")
	must[*sdk.TagResourceOutput](t)(c.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"x": "y", "z": "w"}}))
	must[*sdk.UntagResourceOutput](t)(c.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"z"}}))
	if tags := must[*sdk.GetTagsOutput](t)(c.GetTags(ctx, &sdk.GetTagsInput{ResourceArn: arn})).Tags; len(tags) != 1 || tags["x"] != "y" {
		t.Errorf("tags %v", tags)
	}
	must[*sdk.DeleteApiMappingOutput](t)(c.DeleteApiMapping(ctx, &sdk.DeleteApiMappingInput{DomainName: d.DomainName, ApiMappingId: m.ApiMappingId}))
	must[*sdk.DeleteApiOutput](t)(c.DeleteApi(ctx, &sdk.DeleteApiInput{ApiId: a.ApiId}))
	imported := must[*sdk.ImportApiOutput](t)(c.ImportApi(ctx, &sdk.ImportApiInput{Body: aws.String(`{"title": "imported", "route": "GET /a"}`)}))
	if doc := must[*sdk.ExportApiOutput](t)(c.ExportApi(ctx, &sdk.ExportApiInput{ApiId: imported.ApiId, Specification: aws.String("OAS30"), OutputType: aws.String("JSON")})); len(doc.Body) == 0 {
		t.Error("an empty export")
	}
	for range 3 {
		must[*sdk.CreateApiOutput](t)(c.CreateApi(ctx, &sdk.CreateApiInput{Name: aws.String("more"), ProtocolType: types.ProtocolTypeHttp}))
	}
	var seen int
	for in := (&sdk.GetApisInput{MaxResults: aws.String("3")}); ; {
		page := must[*sdk.GetApisOutput](t)(c.GetApis(ctx, in))
		seen += len(page.Items)
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
	}
	if seen != 4 {
		t.Errorf("%d APIs on all pages", seen)
	}
}
