package function

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function/tagging"
)

// Create makes a function. The answer is Pending; Run makes it Active. With in.Publish the answer is version 1.
// Errors: Conflict when the name is taken; Invalid for bad settings or code; NotFound for a digest that was not uploaded.
func (s *Service) Create(ctx context.Context, project string, in CreateInput) (Function, error) {
	set := settings{Description: in.Description, Runtime: in.Runtime, Handler: in.Handler, Role: in.Role, Memory: in.Memory, Ephemeral: in.Ephemeral,
		Timeout: in.Timeout, Environment: in.Environment, Concurrency: in.Concurrency, Architecture: in.Architecture, TracingMode: in.TracingMode, SnapStart: in.SnapStart,
		Egress: in.Tags[EgressTag], DeadLetter: in.DeadLetter}
	set.setDefaults()
	if err := set.logging.change(in.Name, in.Logging); err != nil {
		return Function{}, err
	}
	if err := s.validate(in.Name, set); err != nil {
		return Function{}, err
	}
	if err := tagging.Check(in.Tags); err != nil {
		return Function{}, err
	}
	if err := s.events.CheckDeadLetter(project, in.DeadLetter); err != nil {
		return Function{}, err
	}
	if s.view.find(project, in.Name) != nil { // spares the unpacking; the transaction looks again
		return Function{}, exists(in.Name)
	}
	digest, size, release, err := s.stage(ctx, project, in.Code, true)
	if err != nil {
		return Function{}, err
	}
	defer release()
	var answer record
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if _, ok, err := s.record(ctx, tx, project, in.Name, 0); err != nil {
			return err
		} else if ok {
			return exists(in.Name)
		}
		var err error
		if set.Layers, err = s.resolveLayers(ctx, tx, project, in.Layers, nil); err != nil {
			return err
		}
		if err := s.checkUnpacked(ctx, project, digest, in.Code.Zip, set.Layers); err != nil {
			return err
		}
		r, err := s.insert(ctx, tx, project, in.Name, "", set, digest, size)
		if err != nil {
			return err
		}
		if err := s.saveTags(ctx, tx, project, in.Name, in.Tags); err != nil {
			return err
		}
		answer = r
		if in.Publish {
			version, err := s.publish(ctx, tx, &r, nil)
			if err != nil {
				return err
			}
			answer = version
		}
		return nil
	})
	return answer.Function, err
}

func exists(name string) error {
	return hansom.Errorf(hansom.Conflict, "create function", "Function already exist: %s", name)
}

// insert writes a new function with its $LATEST.
func (s *Service) insert(ctx context.Context, tx *db.Tx, project, name, app string, set settings, digest string, size int64) (record, error) {
	now := s.timestamp()
	if err := exec(ctx, tx, "create function", []any{project, name, app, now.UnixMicro()},
		`INSERT INTO functions (project, name, app, created, reserved) VALUES (?, ?, ?, ?, -1)`); err != nil {
		return record{}, err
	}
	r := record{Function: Function{
		Version: hansom.Version{Project: project, Region: s.cfg.Region, Function: name, Number: hansom.Latest, Revision: s.newID(),
			CodeSHA256: digest, CodeSize: size, App: app},
		FunctionARN: s.arn(project, name, ""), RevisionID: s.newID(), LastModified: now, Reserved: -1,
		State: StatePending, StateReason: reasonCreating, StateReasonCode: reasonCodeCreating,
	}}
	r.apply(set)
	return r, s.save(ctx, tx, &r)
}

// timestamp is the present in the precision that the store keeps.
func (s *Service) timestamp() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

func (set *settings) setDefaults() {
	if set.Memory == 0 {
		set.Memory = DefaultMemory
	}
	if set.Ephemeral == 0 {
		set.Ephemeral = DefaultEphemeral
	}
	if set.Timeout == 0 {
		set.Timeout = DefaultTimeout
	}
	if set.Architecture == "" {
		set.Architecture = Architecture()
	}
	if set.TracingMode == "" {
		set.TracingMode = DefaultTracing
	}
	if set.Format == "" {
		set.Format = LogText
	}
}

var (
	namePattern = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,64}$`)
	rolePattern = regexp.MustCompile(`^arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+$`)
	reservedEnv = []string{"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
		"AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT"}
)

// validate checks what every door must hold to, whatever checks of form it has made before.
func (s *Service) validate(name string, set settings) error {
	const op = "check function"
	whole := set.Timeout%time.Second == 0
	switch {
	case !namePattern.MatchString(name):
		return hansom.Errorf(hansom.Invalid, op, "the function name %q is not 1 to 64 letters, digits, - or _", name)
	case set.Runtime == "" || set.Handler == "":
		return hansom.Errorf(hansom.Invalid, op, "Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	case len(set.Handler) > 128 || strings.ContainsAny(set.Handler, "\r\n\x00"):
		return hansom.Errorf(hansom.Invalid, op, "the handler is longer than 128 bytes or has more than one line")
	case set.Runtime != hansom.RuntimeHTTP && strings.ContainsFunc(set.Handler, unicode.IsSpace): // in AWS's words, as the API cannot tell
		return hansom.Errorf(hansom.Invalid, op, "1 validation error detected: Value '%s' at 'handler' failed to satisfy constraint: "+
			"Member must satisfy regular expression pattern: [^\\s]+", set.Handler).WithCode("ValidationException")
	case set.Concurrency < 0 || set.Concurrency > hansom.MaxSlots:
		return hansom.Errorf(hansom.Invalid, op, "the concurrency of %d is not between 1 and %d", set.Concurrency, hansom.MaxSlots)
	case set.Concurrency > 1 && !hansom.Concurrent(set.Runtime):
		return hansom.Errorf(hansom.Invalid, op, "A concurrency above 1 needs a runtime of Node.js or http, which %s is not.", set.Runtime)
	case set.Ready != "" && set.Runtime != hansom.RuntimeHTTP:
		return hansom.Errorf(hansom.Invalid, op, "a path that tells readiness is for the runtime http only")
	case !rolePattern.MatchString(set.Role):
		return hansom.Errorf(hansom.Invalid, op, "the role %q is not of the form arn:aws:iam::123456789012:role/name", set.Role)
	case len(set.Description) > 256:
		return hansom.Errorf(hansom.Invalid, op, "the description is longer than 256 bytes")
	case set.Memory < 128 || set.Memory > 10240:
		return hansom.Errorf(hansom.Invalid, op, "the memory of %d MB is not between 128 and 10240", set.Memory)
	case set.Ephemeral < 512 || set.Ephemeral > 10240:
		return hansom.Errorf(hansom.Invalid, op, "the ephemeral storage of %d MB is not between 512 and 10240", set.Ephemeral)
	case set.Timeout < time.Second || set.Timeout > 15*time.Minute || !whole:
		return hansom.Errorf(hansom.Invalid, op, "the timeout of %s is not a number of whole seconds between 1 and 900", set.Timeout)
	case set.Architecture != Architecture():
		return hansom.Errorf(hansom.Invalid, op, "Functions run on %s here, not on %s: build the code for it and leave Architectures out.", Architecture(), set.Architecture)
	}
	if err := hansom.CheckEgress(set.Egress); err != nil {
		return err
	}
	if err := validateEnvironment(set.Environment); err != nil {
		return err
	}
	if _, own := set.Environment["PORT"]; own && set.Runtime == hansom.RuntimeHTTP {
		return hansom.Errorf(hansom.Invalid, op, "The runtime http sets the environment variable PORT: remove it and listen on what it says.")
	}
	if set.SnapStart && !hasSnapStart(set.Runtime) {
		return hansom.Errorf(hansom.Invalid, op, "%s is not supported for SnapStart enabled functions.", set.Runtime)
	}
	_, err := s.runtimes.CheckRuntime(set.Runtime)
	return err
}

func validateEnvironment(env map[string]string) error {
	const op = "check environment"
	var reserved []string
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return hansom.Errorf(hansom.Invalid, op, `the environment variable %q has no name, "=" in its name, or a NUL byte`, name)
		}
		if slices.Contains(reservedEnv, name) {
			reserved = append(reserved, name)
		}
	}
	if len(reserved) > 0 {
		slices.Sort(reserved)
		return hansom.Errorf(hansom.Invalid, op, "Lambda was unable to configure your environment variables because the environment variables you have "+
			"provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(reserved, ", "))
	}
	if len(env) == 0 {
		return nil
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(env); err != nil {
		return failed(op, err)
	}
	if measured := strings.TrimSuffix(text.String(), "\n"); len(measured) > hansom.MaxEnvironment {
		return hansom.Errorf(hansom.Invalid, op, "Lambda was unable to configure your environment variables because the environment variables you have "+
			"provided exceeded the 4KB limit. String measured: %s", measured)
	}
	return nil
}
