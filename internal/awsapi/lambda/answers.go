package lambda

import (
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/function"
)

// The bodies of answers, with the members of the model that have something to say.

type configuration struct {
	FunctionName               string
	FunctionArn                string
	Runtime                    string
	Role                       string
	Handler                    string
	CodeSize                   int64
	Description                string
	Timeout                    int
	MemorySize                 int
	LastModified               string
	CodeSha256                 string
	Version                    string
	Environment                *environment `json:",omitempty"`
	TracingConfig              tracingConfig
	RevisionId                 string
	State                      string `json:",omitempty"`
	StateReason                string `json:",omitempty"`
	StateReasonCode            string `json:",omitempty"`
	LastUpdateStatus           string `json:",omitempty"`
	LastUpdateStatusReason     string `json:",omitempty"`
	LastUpdateStatusReasonCode string `json:",omitempty"`
	PackageType                string
	Architectures              []string
	EphemeralStorage           ephemeralStorage
	SnapStart                  snapStart
	RuntimeVersionConfig       *runtimeVersion `json:",omitempty"`
	LoggingConfig              loggingConfig
	Layers                     []usedLayer             `json:",omitempty"`
	CapacityProviderConfig     *capacityProviderConfig `json:",omitempty"`
	DeadLetterConfig           *deadLetterConfig       `json:",omitempty"`
}

type (
	environment      struct{ Variables map[string]string }
	deadLetterConfig struct{ TargetArn string }
	tracingConfig    struct{ Mode string }
	ephemeralStorage struct{ Size int }
	snapStart        struct{ ApplyOn, OptimizationStatus string }
	runtimeVersion   struct{ RuntimeVersionArn string }
	codeLocation     struct{ RepositoryType, Location string }
	usedLayer        struct {
		Arn      string
		CodeSize int64
	}
	loggingConfig struct {
		LogFormat           string
		ApplicationLogLevel string `json:",omitempty"`
		SystemLogLevel      string `json:",omitempty"`
		LogGroup            string
	}
	concurrency struct {
		ReservedConcurrentExecutions *int `json:",omitempty"`
	}
)

// lastModifiedLayout and urlTimeLayout are how the Lambda API writes times: of functions and of function URLs.
const (
	lastModifiedLayout = "2006-01-02T15:04:05.000+0000"
	urlTimeLayout      = "2006-01-02T15:04:05.000Z"
)

// snapStartPublished asks for snapshots of published versions. It is kept and reported: none are made.
const snapStartPublished = "PublishedVersions"

func configurationOf(f *function.Function) configuration {
	c := configuration{
		FunctionName: f.Version.Function, FunctionArn: f.FunctionARN, Runtime: f.Runtime, Role: f.Role, Handler: f.Handler,
		CodeSize: f.CodeSize, Description: f.Description, Timeout: int(f.Timeout / time.Second), MemorySize: f.Memory,
		LastModified: f.LastModified.UTC().Format(lastModifiedLayout), CodeSha256: f.CodeSha256(), Version: f.Number,
		TracingConfig: tracingConfig{f.TracingMode}, RevisionId: f.RevisionID,
		State: f.State, StateReason: f.StateReason, StateReasonCode: f.StateReasonCode,
		LastUpdateStatus: f.LastUpdateStatus, LastUpdateStatusReason: f.LastUpdateStatusReason, LastUpdateStatusReasonCode: f.LastUpdateStatusReasonCode,
		PackageType: f.PackageType(), Architectures: []string{f.Architecture}, EphemeralStorage: ephemeralStorage{f.Ephemeral},
		SnapStart:     snapStart{"None", "Off"},
		LoggingConfig: loggingConfig{f.Logging.Format, f.Logging.Application, f.Logging.System, f.LogGroup()},
	}
	if f.SnapStart {
		c.SnapStart.ApplyOn = snapStartPublished
	}
	if f.RuntimeARN != "" {
		c.RuntimeVersionConfig = &runtimeVersion{f.RuntimeARN}
	}
	if f.Environment != nil {
		c.Environment = &environment{f.Environment}
	}
	if f.Concurrency > 0 {
		c.CapacityProviderConfig = &capacityProviderConfig{managedInstances{providerARN(f.Region, f.Project), f.Concurrency}}
	}
	if f.DeadLetter != "" {
		c.DeadLetterConfig = &deadLetterConfig{f.DeadLetter}
	}
	for _, l := range f.Layers {
		c.Layers = append(c.Layers, usedLayer{l.ARN, l.Size})
	}
	return c
}

// listed is a configuration as lists show it: without states.
func listed(list []function.Function) []configuration {
	out := make([]configuration, len(list))
	for i := range list {
		c := configurationOf(&list[i])
		c.State, c.StateReason, c.StateReasonCode = "", "", ""
		c.LastUpdateStatus, c.LastUpdateStatusReason, c.LastUpdateStatusReasonCode = "", "", ""
		out[i] = c
	}
	return out
}

type aliasConfiguration struct {
	AliasArn        string
	Name            string
	FunctionVersion string
	Description     string
	RoutingConfig   *routingConfig `json:",omitempty"`
	RevisionId      string
}

type routingConfig struct{ AdditionalVersionWeights map[string]float64 }

func aliasOf(a *function.Alias) aliasConfiguration {
	c := aliasConfiguration{AliasArn: a.ARN, Name: a.Name, FunctionVersion: a.Version, Description: a.Description, RevisionId: a.RevisionID}
	if len(a.Weights) > 0 {
		c.RoutingConfig = &routingConfig{a.Weights}
	}
	return c
}

type urlConfiguration struct {
	FunctionUrl      string
	FunctionArn      string
	AuthType         string
	Cors             *hansom.CORS `json:",omitempty"`
	CreationTime     string
	LastModifiedTime string `json:",omitempty"`
	InvokeMode       string `json:",omitempty"`
}

func (s *Service) urlOf(u *hansom.FunctionURL) urlConfiguration {
	return urlConfiguration{FunctionUrl: s.cfg.FunctionURL(u.ID), FunctionArn: u.ARN(), AuthType: u.AuthType, Cors: u.CORS,
		CreationTime: u.Created.UTC().Format(urlTimeLayout), LastModifiedTime: u.Modified.UTC().Format(urlTimeLayout), InvokeMode: u.InvokeMode}
}
