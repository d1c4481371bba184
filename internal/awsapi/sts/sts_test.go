package sts

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestGetCallerIdentity(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	cfg := auth.DefaultConfig()
	cfg.Dev = true
	a, err := auth.New(t.Context(), cfg, dbtest.Open(t, dbtest.SQLite(t)), bytes.Repeat([]byte{7}, 32), logger)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(awsapi.New(a, logger, map[string]awsapi.Service{"sts": New(logger)}))
	defer server.Close()
	client := func(c hansom.Credentials) *sdk.Client {
		return sdk.New(sdk.Options{Region: "eu-central-1", BaseEndpoint: aws.String(server.URL), RetryMaxAttempts: 1, HTTPClient: server.Client(),
			Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)})
	}
	root, err := client(hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}).GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *root.Account != hansom.DefaultProject || *root.Arn != "arn:aws:iam::000000000000:root" || *root.UserId != hansom.DefaultProject {
		t.Errorf("root is %s %s %s", *root.Account, *root.Arn, *root.UserId)
	}
	session := a.IssueFunction(&hansom.Version{Project: hansom.DefaultProject, Region: "us-east-1", Function: "f", Number: "1", Role: "arn:aws:iam::000000000000:role/r"}, time.Hour)
	f, err := client(session).GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *f.Arn != "arn:aws:sts::000000000000:assumed-role/r/f" {
		t.Errorf("the function is %s", *f.Arn)
	}
	_, err = client(hansom.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}).GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "InvalidClientTokenId" {
		t.Errorf("nobody: %v", err)
	}
	_, err = client(hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}).GetSessionToken(t.Context(), &sdk.GetSessionTokenInput{})
	if !errors.As(err, &api) || api.ErrorCode() != "InvalidAction" {
		t.Errorf("GetSessionToken: %v", err)
	}
}
