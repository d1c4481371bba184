package rig

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Gateway calls the API Gateway v2 control API, POST /v2/PATH with a JSON document, and reads the answer into out, unless it is nil.
func (s *Server) Gateway(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.API+"/v2/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, r, hex.EncodeToString(sum[:]), "apigateway", region, time.Now())
	if err != nil {
		return err
	}
	answer, err := connections.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("POST /v2/%s: %s %s", path, answer.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// HTTPAPI is an HTTP API with one route to a function.
type HTTPAPI struct {
	Name, Route, Function string
	Issuer, Audience      string // of a JWT authorizer of the route; "" for none
	Scope                 string // that the authorizer asks for
	Limit                 int    // requests/s of the stage, and its burst; 0 for none
}

// CreateAPI makes an API whose stage $default is deployed, and returns its host.
func (s *Server) CreateAPI(ctx context.Context, a HTTPAPI) (host string, err error) {
	var api struct{ APIID string }
	if err := s.Gateway(ctx, "apis", map[string]any{"name": a.Name, "protocolType": "HTTP"}, &api); err != nil {
		return "", err
	}
	at := "apis/" + api.APIID + "/"
	var integration struct{ IntegrationID string }
	err = s.Gateway(ctx, at+"integrations", map[string]any{"integrationType": "AWS_PROXY", "payloadFormatVersion": "2.0",
		"integrationUri": "arn:aws:lambda:" + region + ":000000000000:function:" + a.Function}, &integration)
	if err != nil {
		return "", err
	}
	route := map[string]any{"routeKey": a.Route, "target": "integrations/" + integration.IntegrationID}
	if a.Issuer != "" {
		var authorizer struct{ AuthorizerID string }
		err = s.Gateway(ctx, at+"authorizers", map[string]any{"name": "jwt", "authorizerType": "JWT", "identitySource": []string{"$request.header.Authorization"},
			"jwtConfiguration": map[string]any{"issuer": a.Issuer, "audience": []string{a.Audience}}}, &authorizer)
		if err != nil {
			return "", err
		}
		route["authorizationType"], route["authorizerId"], route["authorizationScopes"] = "JWT", authorizer.AuthorizerID, []string{a.Scope}
	}
	if err := s.Gateway(ctx, at+"routes", route, nil); err != nil {
		return "", err
	}
	stage := map[string]any{"stageName": "$default", "autoDeploy": true}
	if a.Limit > 0 {
		stage["defaultRouteSettings"] = map[string]any{"throttlingRateLimit": a.Limit, "throttlingBurstLimit": a.Limit}
	}
	if err := s.Gateway(ctx, at+"stages", stage, nil); err != nil {
		return "", err
	}
	_, port, _ := strings.Cut(s.Edge, ":")
	return api.APIID + ".execute-api.localhost:" + port, nil
}
