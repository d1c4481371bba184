package lambda

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
)

func TestEventInvokeConfigs(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	create(t, c, "after")
	name, after := aws.String("f"), aws.String("arn:aws:lambda:us-east-1:000000000000:function:after")
	put, err := c.PutFunctionEventInvokeConfig(t.Context(), &sdk.PutFunctionEventInvokeConfigInput{FunctionName: name, MaximumRetryAttempts: aws.Int32(0),
		DestinationConfig: &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: after}}})
	if err != nil || *put.FunctionArn != "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST" || *put.MaximumRetryAttempts != 0 || put.MaximumEventAgeInSeconds != nil ||
		*put.DestinationConfig.OnSuccess.Destination != *after || put.DestinationConfig.OnFailure == nil || put.DestinationConfig.OnFailure.Destination != nil ||
		time.Since(*put.LastModified) > time.Minute {
		t.Fatalf("%+v %v", put, err)
	}
	updated, err := c.UpdateFunctionEventInvokeConfig(t.Context(), &sdk.UpdateFunctionEventInvokeConfigInput{FunctionName: name, Qualifier: aws.String("$LATEST"), MaximumEventAgeInSeconds: aws.Int32(60)})
	if err != nil || *updated.MaximumRetryAttempts != 0 || *updated.MaximumEventAgeInSeconds != 60 || *updated.DestinationConfig.OnSuccess.Destination != *after {
		t.Fatalf("%+v %v", updated, err)
	}
	got, err := c.GetFunctionEventInvokeConfig(t.Context(), &sdk.GetFunctionEventInvokeConfigInput{FunctionName: name})
	if err != nil || *got.MaximumEventAgeInSeconds != 60 {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := c.PublishVersion(t.Context(), &sdk.PublishVersionInput{FunctionName: name}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutFunctionEventInvokeConfig(t.Context(), &sdk.PutFunctionEventInvokeConfigInput{FunctionName: name, Qualifier: aws.String("1"), MaximumRetryAttempts: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	pages := sdk.NewListFunctionEventInvokeConfigsPaginator(c, &sdk.ListFunctionEventInvokeConfigsInput{FunctionName: name, MaxItems: aws.Int32(1)})
	var arns []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil || len(page.FunctionEventInvokeConfigs) != 1 {
			t.Fatalf("%+v %v", page, err)
		}
		arns = append(arns, *page.FunctionEventInvokeConfigs[0].FunctionArn)
	}
	if strings.Join(arns, " ") != "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST arn:aws:lambda:us-east-1:000000000000:function:f:1" {
		t.Error(arns)
	}
	if _, err := c.DeleteFunctionEventInvokeConfig(t.Context(), &sdk.DeleteFunctionEventInvokeConfigInput{FunctionName: name}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetFunctionEventInvokeConfig(t.Context(), &sdk.GetFunctionEventInvokeConfigInput{FunctionName: name}); err == nil {
		t.Error("a deleted configuration is there")
	}
}

// Destinations and dead-letter targets that cannot be are refused, one a row of the file.
func TestDestinationsRefused(t *testing.T) {
	text, err := os.ReadFile("testdata/destinations.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ OnSuccess, OnFailure, DeadLetter, Message string }
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	c := newServer(t).client(t)
	create(t, c, "f")
	for _, tc := range cases {
		var err error
		if tc.DeadLetter != "" {
			_, err = c.UpdateFunctionConfiguration(t.Context(), &sdk.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), DeadLetterConfig: &types.DeadLetterConfig{TargetArn: &tc.DeadLetter}})
		} else {
			d := &types.DestinationConfig{}
			if tc.OnSuccess != "" {
				d.OnSuccess = &types.OnSuccess{Destination: &tc.OnSuccess}
			}
			if tc.OnFailure != "" {
				d.OnFailure = &types.OnFailure{Destination: &tc.OnFailure}
			}
			_, err = c.PutFunctionEventInvokeConfig(t.Context(), &sdk.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("f"), DestinationConfig: d})
		}
		var e smithy.APIError
		if tc.Message == "" {
			if err != nil {
				t.Errorf("%+v: %v", tc, err)
			}
			continue
		}
		if !errors.As(err, &e) || e.ErrorCode() != "InvalidParameterValueException" || e.ErrorMessage() != tc.Message {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// The dead-letter target is reported, and an empty one removes it.
func TestDeadLetterConfig(t *testing.T) {
	c := newServer(t).client(t)
	create(t, c, "f")
	for _, target := range []string{"arn:aws:sqs:us-east-1:000000000000:dead", ""} {
		out, err := c.UpdateFunctionConfiguration(t.Context(), &sdk.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), DeadLetterConfig: &types.DeadLetterConfig{TargetArn: &target}})
		if err != nil || target != "" && (out.DeadLetterConfig == nil || *out.DeadLetterConfig.TargetArn != target) || target == "" && out.DeadLetterConfig != nil {
			t.Errorf("%q: %+v %v", target, out.DeadLetterConfig, err)
		}
		waitUpdated(t, c, "f")
	}
}
