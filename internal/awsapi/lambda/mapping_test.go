package lambda

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
)

const jobs = "arn:aws:sqs:us-east-1:000000000000:jobs"

func TestMappings(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	f := create(t, c, "f")
	ctx := t.Context()
	plain, err := c.CreateEventSourceMapping(ctx, &sdk.CreateEventSourceMappingInput{FunctionName: aws.String("f"), EventSourceArn: aws.String(jobs)})
	if err != nil {
		t.Fatal(err)
	}
	if *plain.State != "Creating" || *plain.StateTransitionReason != "USER_INITIATED" || *plain.BatchSize != 10 || *plain.MaximumBatchingWindowInSeconds != 0 ||
		*plain.EventSourceArn != jobs || *plain.FunctionArn != *f.FunctionArn || *plain.EventSourceMappingArn != "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:"+*plain.UUID ||
		plain.FunctionResponseTypes == nil || len(plain.FunctionResponseTypes) != 0 || plain.FilterCriteria != nil || plain.ScalingConfig != nil || plain.LastProcessingResult != nil {
		t.Errorf("%+v", plain)
	}
	if since := time.Since(*plain.LastModified); since < -time.Minute || since > time.Hour {
		t.Errorf("modified %v ago", since)
	}
	version, err := c.PublishVersion(ctx, &sdk.PublishVersionInput{FunctionName: aws.String("f")})
	if err != nil {
		t.Fatal(err)
	}
	const pattern = `{"body":{"a":["b"]}}`
	full, err := c.CreateEventSourceMapping(ctx, &sdk.CreateEventSourceMappingInput{
		FunctionName: version.FunctionArn, EventSourceArn: aws.String(jobs), Enabled: aws.Bool(false), BatchSize: aws.Int32(10000), MaximumBatchingWindowInSeconds: aws.Int32(300),
		FilterCriteria: &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(pattern)}}}, ScalingConfig: &types.ScalingConfig{MaximumConcurrency: aws.Int32(1000)},
		FunctionResponseTypes: []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures}, Tags: map[string]string{"a": "b"},
		MetricsConfig: &types.EventSourceMappingMetricsConfig{Metrics: []types.EventSourceMappingMetric{types.EventSourceMappingMetricEventCount}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if *full.State != "Disabled" || *full.FunctionArn != *version.FunctionArn || *full.BatchSize != 10000 || *full.MaximumBatchingWindowInSeconds != 300 || *full.FilterCriteria.Filters[0].Pattern != pattern ||
		*full.ScalingConfig.MaximumConcurrency != 1000 || full.FunctionResponseTypes[0] != "ReportBatchItemFailures" || full.MetricsConfig.Metrics[0] != "EventCount" {
		t.Errorf("%+v", full)
	}
	_, err = c.CreateEventSourceMapping(ctx, &sdk.CreateEventSourceMappingInput{FunctionName: f.FunctionArn, EventSourceArn: aws.String(jobs)})
	hasCode(t, err, "ResourceConflictException", `An event source mapping with SQS arn (" `+jobs+` ") and function (" f ") already exists. Please update or delete the existing mapping with UUID `+*plain.UUID)

	tags, err := c.ListTags(ctx, &sdk.ListTagsInput{Resource: full.EventSourceMappingArn})
	if err != nil || tags.Tags["a"] != "b" {
		t.Error(tags, err)
	}
	if _, err := c.TagResource(ctx, &sdk.TagResourceInput{Resource: full.EventSourceMappingArn, Tags: map[string]string{"c": "d"}}); err != nil {
		t.Error(err)
	}
	if _, err := c.UntagResource(ctx, &sdk.UntagResourceInput{Resource: full.EventSourceMappingArn, TagKeys: []string{"a"}}); err != nil {
		t.Error(err)
	}
	if tags, err := c.ListTags(ctx, &sdk.ListTagsInput{Resource: full.EventSourceMappingArn}); err != nil || len(tags.Tags) != 1 || tags.Tags["c"] != "d" {
		t.Error(tags, err)
	}

	updated, err := c.UpdateEventSourceMapping(ctx, &sdk.UpdateEventSourceMappingInput{UUID: full.UUID, Enabled: aws.Bool(true), BatchSize: aws.Int32(1), MaximumBatchingWindowInSeconds: aws.Int32(0),
		FilterCriteria: &types.FilterCriteria{}, ScalingConfig: &types.ScalingConfig{}, FunctionResponseTypes: []types.FunctionResponseType{}, MetricsConfig: &types.EventSourceMappingMetricsConfig{}})
	if err != nil {
		t.Fatal(err)
	}
	if *updated.State != "Enabling" || *updated.BatchSize != 1 || updated.FilterCriteria != nil || updated.ScalingConfig != nil || len(updated.FunctionResponseTypes) != 0 || updated.MetricsConfig != nil {
		t.Errorf("%+v", updated)
	}
	got, err := c.GetEventSourceMapping(ctx, &sdk.GetEventSourceMappingInput{UUID: full.UUID})
	if err != nil || *got.State != "Enabled" || *got.BatchSize != 1 {
		t.Errorf("%+v %v", got, err)
	}
	for _, l := range []struct {
		in   sdk.ListEventSourceMappingsInput
		want []string
	}{
		{sdk.ListEventSourceMappingsInput{}, []string{*plain.UUID, *full.UUID}},
		{sdk.ListEventSourceMappingsInput{FunctionName: aws.String("f")}, []string{*plain.UUID}},
		{sdk.ListEventSourceMappingsInput{FunctionName: version.FunctionArn, EventSourceArn: aws.String(jobs)}, []string{*full.UUID}},
		{sdk.ListEventSourceMappingsInput{EventSourceArn: aws.String(jobs + ".fifo")}, nil},
	} {
		l.in.MaxItems = aws.Int32(1)
		var ids []string
		for pages := sdk.NewListEventSourceMappingsPaginator(c, &l.in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page.EventSourceMappings {
				ids = append(ids, *m.UUID)
			}
		}
		if a, b := asJSON(ids), asJSON(l.want); a != b {
			t.Errorf("listed %s, want %s", a, b)
		}
	}
	deleted, err := c.DeleteEventSourceMapping(ctx, &sdk.DeleteEventSourceMappingInput{UUID: full.UUID})
	if err != nil || *deleted.State != "Deleting" || *deleted.UUID != *full.UUID {
		t.Errorf("%+v %v", deleted, err)
	}
	_, err = c.GetEventSourceMapping(ctx, &sdk.GetEventSourceMappingInput{UUID: full.UUID})
	hasCode(t, err, "ResourceNotFoundException", "The resource you requested does not exist.")

	// A function takes its mappings not with it.
	if _, err := c.DeleteFunction(ctx, &sdk.DeleteFunctionInput{FunctionName: aws.String("f")}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetEventSourceMapping(ctx, &sdk.GetEventSourceMappingInput{UUID: plain.UUID}); err != nil || *got.FunctionArn != *f.FunctionArn {
		t.Errorf("%+v %v", got, err)
	}
}

func asJSON(x any) string { b, _ := json.Marshal(x); return string(b) }

// hasCode checks what a client sees of an error.
func hasCode(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || api.ErrorMessage() != message {
		t.Errorf("got %v\nwant %s: %s", err, code, message)
	}
}
