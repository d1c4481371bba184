// Package hansom holds the words of the platform: names, ARNs, principals, errors, versions, invocations.
// It imports the standard library only; every other package builds on it. See docs/architecture.md.
package hansom

import (
	"strings"
	"time"
)

const (
	DefaultProject = "000000000000" // the project that exists from the start
	DefaultRegion  = "us-east-1"
	Latest         = "$LATEST" // the mutable version
)

// Limits of AWS Lambda that Hansom keeps. Sizes are in bytes unless the name says otherwise.
const (
	MaxSyncPayload   = 6 << 20
	MaxEventPayload  = 1 << 20 // of an asynchronous invocation
	MaxStreamPayload = 200 << 20
	MaxZipInline     = 50 << 20
	MaxUnpacked      = 250 << 20
	MaxEnvironment   = 4 << 10
	MaxConcurrency   = 1000 // per project: the account limit
	MaxSlots         = 1600 // invocations at once in one instance
	HTTPConcurrency  = 80   // invocations at once in an instance of the http runtime, unless the function says otherwise
)

// PrincipalKind says who acts.
type PrincipalKind uint8

const (
	Anonymous PrincipalKind = iota
	Root
	AccessKey
	RoleSession
	FunctionSession
)

// Principal is who acts: the result of authenticating a request.
type Principal struct {
	Kind        PrincipalKind
	Project     string // 12 digits
	ARN         string // as STS GetCallerIdentity reports it
	UserID      string // as STS GetCallerIdentity reports it
	AccessKeyID string
	Function    string // ARN of the function, for a FunctionSession
}

// Credentials sign requests to the api listener. Temporary ones have a session token and an expiry.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
}

// Version is an immutable state of a function: code digest and configuration. $LATEST has a new one after each update.
type Version struct {
	Project     string
	Region      string
	Function    string
	Number      string // "$LATEST" or "1", "2", ...
	Revision    string // changes with every change of code or configuration; an instance serves one revision
	Description string
	Runtime     string // identifier as the user wrote it, e.g. "nodejs22.x"
	Handler     string
	Role        string // ARN, checked for form only
	CodeSHA256  string // hex digest of the zip; base64 of the same bytes is AWS's CodeSha256
	CodeSize    int64
	Memory      int // MB, 128 to 10,240
	Ephemeral   int // MB of /tmp, 512 to 10,240
	Timeout     time.Duration
	Environment map[string]string
	Layers      []Layer // in the order in which they are laid over each other at /opt
	Logging     Logging
	Concurrency int    // most invocations at once in one instance; 0 means the runtime's default, see Slots
	Ready       string // path that answers with a status below 400 once an http function is ready; "" is when it accepts connections
	Egress      string // EgressNone, EgressPlatform or EgressInternet; "" means the default of its project, else the server's
	DeadLetter  string // ARN of the queue for events that were given up; "" for none
	App         string // app that owns the function; "" when it was made through the Lambda API
}

// Layer is a version of a layer as a function uses it.
type Layer struct {
	ARN    string // of the layer's version
	SHA256 string // hex digest of its zip
	Size   int64  // bytes of the zip
}

// Logging says how a function logs, as Lambda's LoggingConfig has it. The zero value is text in the default group.
type Logging struct {
	Format      string // "Text", which "" means too, or "JSON"
	Application string // least level of the function's own lines, "TRACE" to "FATAL"; "" with Text
	System      string // least level of the platform's lines, "DEBUG", "INFO" or "WARN"; "" with Text
	Group       string // "" means /aws/lambda/<function>
}

// ARN of the version, qualified unless it is $LATEST.
func (v *Version) ARN() string {
	q := v.Number
	if q == Latest {
		q = ""
	}
	return FunctionARN(v.Region, v.Project, v.Function, q)
}

// RuntimeHTTP is the runtime of programs that serve HTTP on $PORT.
const RuntimeHTTP = "http"

// Concurrent says that instances of a runtime can take several invocations at once.
func Concurrent(runtime string) bool {
	return runtime == RuntimeHTTP || strings.HasPrefix(runtime, "nodejs")
}

// ServesHTTP says that the function takes web requests as they are.
func (v *Version) ServesHTTP() bool { return v.Runtime == RuntimeHTTP }

// Slots is how many invocations one instance takes at once: Concurrency, or the runtime's default.
func (v *Version) Slots() int {
	switch {
	case v.Concurrency > 0:
		return v.Concurrency
	case v.ServesHTTP():
		return HTTPConcurrency
	}
	return 1
}

// LogGroup is where the version logs to.
func (v *Version) LogGroup() string {
	if v.Logging.Group != "" {
		return v.Logging.Group
	}
	return "/aws/lambda/" + v.Function
}

// Target is what a function name and qualifier resolve to at one moment.
type Target struct {
	Version  *Version
	ARN      string // the ARN that was invoked, with its qualifier
	Reserved int    // reserved concurrency of the function; -1 when it shares the project's limit
	Loops    bool   // the function may call itself without end, by way of others too
}

// Route sends requests for an app's host to a function. Path is "/a/{id}" or "/a/{rest+}"; Method may be "ANY".
type Route struct {
	App, Method, Path, Function string
}
