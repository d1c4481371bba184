// Package function keeps functions, their versions, aliases, URLs, resource policies, reserved concurrency and code packages.
// What the Lambda API changes is written to the store in one transaction; what an invocation needs is read from memory alone.
package function

import (
	"encoding/base64"
	"encoding/hex"
	"runtime"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/function/paging"
)

// State of a version, and of the last update of $LATEST, as the Lambda API spells them.
const (
	StatePending = "Pending"
	StateActive  = "Active"
	StateFailed  = "Failed"

	UpdateInProgress = "InProgress"
	UpdateSuccessful = "Successful"
	UpdateFailed     = "Failed"

	reasonCreating     = "The function is being created."
	reasonCodeCreating = "Creating"
	reasonCodeInternal = "InternalError"
	reasonCodeZip      = "InvalidZipFileException"
	reasonCodeRuntime  = "InvalidRuntime"
)

// Defaults of the Lambda API.
const (
	DefaultMemory    = 128 // MB
	DefaultEphemeral = 512 // MB
	DefaultTimeout   = 3 * time.Second
	DefaultTracing   = "PassThrough"
	PackageZip       = "Zip"

	LogText         = "Text"
	LogJSON         = "JSON"
	defaultLogLevel = "INFO" // of both kinds of lines, with LogJSON

	runtimeManual = "Manual" // of RuntimeManagement
)

// Architecture is that of the machine, which functions run on: "x86_64" or "arm64".
func Architecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// Function is one version of a function as the control plane reports it. A nil Environment was never given; an empty one was.
type Function struct {
	hansom.Version

	FunctionARN  string // as the look-up that made this record reports it: unqualified, or with the qualifier that was asked for
	RevisionID   string // changes with every write, also of state and policy; a version and an alias have their own
	LastModified time.Time

	State           string // StatePending, StateActive or StateFailed
	StateReason     string
	StateReasonCode string

	LastUpdateStatus           string // "" until the function has been active once
	LastUpdateStatusReason     string
	LastUpdateStatusReasonCode string

	Architecture string
	TracingMode  string
	SnapStart    bool   // ApplyOn is PublishedVersions; reported, but no snapshots are made
	RuntimeARN   string // of the runtime version that it runs on here
	Reserved     int    // reserved concurrency of the function; -1 when it has none
}

// PackageType is always "Zip": container images are not supported.
func (f *Function) PackageType() string { return PackageZip }

// CodeSha256 is the digest of the package as the Lambda API reports it, in base64.
func (f *Function) CodeSha256() string { return base64Digest(f.CodeSHA256) }

func base64Digest(hexDigest string) string {
	b, err := hex.DecodeString(hexDigest)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Source is where code comes from: the bytes of a zip, or the digest of one that is already stored for the project.
// One of the two is set.
type Source struct {
	Zip    []byte // at most hansom.MaxZipInline
	SHA256 string // hex
}

// CreateInput describes a new function. Zero values of the optional fields mean AWS's defaults.
type CreateInput struct {
	Name         string // up to 64 letters, digits, - and _
	Runtime      string
	Handler      string
	Role         string
	Description  string
	Code         Source
	Memory       int           // MB; 0 means DefaultMemory
	Ephemeral    int           // MB; 0 means DefaultEphemeral
	Timeout      time.Duration // whole seconds; 0 means DefaultTimeout
	Environment  map[string]string
	Concurrency  int    // invocations at once in one instance; 0 means the runtime's default
	Architecture string // "" or Architecture()
	TracingMode  string // "PassThrough" or "Active"
	Logging      hansom.Logging
	SnapStart    bool
	Layers       []string          // ARNs of versions of layers, in the order in which they are laid over each other
	DeadLetter   string            // ARN of a queue for events that are given up; "" for none
	Tags         map[string]string // see Tag
	Publish      bool              // also publish version 1
}

// UpdateCodeInput replaces the code of $LATEST.
type UpdateCodeInput struct {
	Code         Source
	Architecture string // "" keeps it
	DryRun       bool   // check everything, write nothing; the answer carries the digest of the new code
	Publish      bool
	RevisionID   string // "" or the RevisionID that $LATEST must have
}

// UpdateConfigurationInput changes the configuration of $LATEST; nil fields stay as they are.
type UpdateConfigurationInput struct {
	Runtime     *string
	Handler     *string
	Role        *string
	Description *string
	Memory      *int
	Ephemeral   *int
	Timeout     *time.Duration
	Environment map[string]string // nil keeps it; empty removes all variables
	Concurrency *int
	TracingMode *string
	Logging     hansom.Logging // empty fields stay as they are
	SnapStart   *bool
	Layers      []string // nil keeps them; empty removes all
	DeadLetter  *string  // empty removes it
	RevisionID  string   // "" or the RevisionID that $LATEST must have
}

// PublishInput makes a version of $LATEST.
type PublishInput struct {
	Description *string // nil: that of $LATEST
	CodeSha256  string  // "" or the base64 digest that $LATEST must have
	RevisionID  string  // "" or the RevisionID that $LATEST must have
}

// Page asks for part of a list.
type Page = paging.Page

// Alias is a name for a version, or for two with weights.
type Alias struct {
	ARN         string
	Name        string
	Version     string // "$LATEST" or a number
	Description string
	Weights     map[string]float64 // at most one more version: its share of the calls, 0 to 1
	RevisionID  string
}

// AliasInput describes a new alias.
type AliasInput struct {
	Name        string
	Version     string
	Description string
	Weights     map[string]float64
}

// UpdateAliasInput changes an alias; nil fields stay as they are. An empty Weights removes the routing.
type UpdateAliasInput struct {
	Version     *string
	Description *string
	Weights     map[string]float64
	RevisionID  string
}

// URLInput describes a function URL. An empty InvokeMode means BUFFERED.
type URLInput struct {
	AuthType   string
	InvokeMode string
	CORS       *hansom.CORS
}

// UpdateURLInput changes a function URL; "" and nil stay as they are. A CORS without any field removes the setting.
type UpdateURLInput struct {
	AuthType   string
	InvokeMode string
	CORS       *hansom.CORS
}

// PermissionInput is one statement for the resource policy of a function, version or alias.
type PermissionInput struct {
	StatementID         string
	Action              string // e.g. "lambda:InvokeFunction"
	Principal           string // "*", an account id, an IAM or STS ARN, or a service such as "s3.amazonaws.com"
	SourceARN           string
	SourceAccount       string
	PrincipalOrgID      string
	EventSourceToken    string
	FunctionURLAuthType string
	InvokedViaURL       *bool
	RevisionID          string
}

// AccountSettings are the limits of a project and what it uses of them. Sizes are in bytes.
type AccountSettings struct {
	TotalCodeSize         int64
	CodeSizeUnzipped      int64
	CodeSizeZipped        int64
	ConcurrentExecutions  int
	UnreservedConcurrency int
	UsedCodeSize          int64 // of all versions
	FunctionCount         int
}
