// Package sts is the part of the AWS Security Token Service API (2011-06-15) that tools call first: who am I.
package sts

import (
	"context"
	"log/slog"
	"net/url"

	"github.com/hansomcloud/hansom/internal/awsapi"
)

const namespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// New returns the service. It keeps nothing: the answers come from the principal of the request.
func New(logger *slog.Logger) *awsapi.Query {
	return awsapi.NewQuery("sts", namespace, logger, map[string]awsapi.Action{"GetCallerIdentity": getCallerIdentity}, "GetCallerIdentity")
}

func getCallerIdentity(ctx context.Context, _ url.Values) (any, error) {
	p := awsapi.PrincipalFrom(ctx)
	return struct{ Arn, UserId, Account string }{p.ARN, p.UserID, p.Project}, nil
}
