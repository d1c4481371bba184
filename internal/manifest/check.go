package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

var (
	namePattern = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	// managedPattern is AWS's list, and every newer number, as package runtimes has it.
	managedPattern  = regexp.MustCompile(`^(nodejs(16|18|20|22|2[4-9]|[3-9]\d)\.x|python3\.([89]|[1-9]\d)|java(8\.al2|11|17|21|2[5-9]|[3-9]\d)|ruby(3\.[2-9]|[4-9]\.\d))$`)
	variablePattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]+$`) // the Lambda API's EnvironmentVariableName
	paramPattern    = regexp.MustCompile(`^\{[a-zA-Z0-9._:-]+\+?\}$`)
	layerPattern    = regexp.MustCompile(`^(arn:[a-zA-Z0-9-]+:lambda:[a-zA-Z0-9-]+:\d{12}:layer:)?[a-zA-Z0-9-_]{1,140}:[1-9]\d{0,17}$`)
	digestPattern   = regexp.MustCompile(`^[0-9a-f]{64}$`)

	methods = []string{"ANY", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

	// runtimeNames are what a misspelt runtime may have been meant to be.
	runtimeNames = []string{
		"nodejs22.x", "nodejs24.x", "nodejs20.x", "nodejs18.x", "python3.13", "python3.14", "python3.12", "python3.11", "python3.10", "python3.9",
		"java21", "java25", "java17", "java11", "ruby3.3", "ruby3.4", "ruby3.2",
		"go", "provided.al2023", "provided.al2", "http",
	}

	// reserved are the variables that Lambda sets itself and refuses to have set.
	reserved = []string{
		"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
		"AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
	}
)

const (
	maxName         = 40 // an app's name and a function's key
	maxFunctionName = 64 // as Lambda's
	maxHandler      = 128
	maxLayers       = 5 // as Lambda's
	maxReady        = 512
	maxTimeout      = 15 * time.Minute
)

func checkName(s string) error { return checkLabel("name", s) }
func checkKey(s string) error  { return checkLabel("the function's key", s) }

func checkLabel(what, s string) error {
	if len(s) > maxName || !namePattern.MatchString(s) {
		return fmt.Errorf("%s %.80q must be 1 to %d lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen", what, s, maxName)
	}
	return nil
}

// FunctionName is the name of an app's function in the Lambda API.
func FunctionName(app, key string) string { return app + "-" + key }

func checkFunctionName(app, key string) error {
	if name := FunctionName(app, key); len(name) > maxFunctionName {
		return fmt.Errorf("the function's name would be %q, %d characters; the limit is %d", name, len(name), maxFunctionName)
	}
	return nil
}

func checkRuntime(s string) error {
	switch {
	case managedPattern.MatchString(s), s == "go", s == "provided.al2", s == "provided.al2023", s == hansom.RuntimeHTTP:
		return nil
	case s == "wasm":
		return fmt.Errorf("runtime %s is not supported yet", s)
	}
	if near := nearest(s, runtimeNames, 5); near != "" {
		return fmt.Errorf("runtime %q is not known; did you mean %s?", s, near)
	}
	return fmt.Errorf("runtime %.80q is not known; use one such as nodejs22.x, python3.11, java21, ruby3.3, go, provided.al2023 or http", s)
}

func needsHandler(runtime string) bool { return managedPattern.MatchString(runtime) }

func exampleHandler(runtime string) string {
	if strings.HasPrefix(runtime, "java") {
		return "example.Handler::handleRequest"
	}
	return "index.handler"
}

func checkHandler(runtime, s string) error {
	if runtime == hansom.RuntimeHTTP {
		if strings.TrimSpace(s) == "" || len(s) > maxHandler || strings.ContainsAny(s, "\r\n\x00") {
			return fmt.Errorf("handler %.80q must be the command line that starts the server, such as node server.js: 1 to %d characters on one line", s, maxHandler)
		}
		return nil
	}
	if s == "" || len(s) > maxHandler || strings.ContainsAny(s, " \t\r\n") {
		return fmt.Errorf("handler %.80q must be 1 to %d characters without spaces", s, maxHandler)
	}
	if strings.HasPrefix(runtime, "java") { // a class, or a class and its method
		return nil
	}
	if i := strings.LastIndexByte(s, '.'); needsHandler(runtime) && (i <= 0 || i == len(s)-1) {
		return fmt.Errorf("handler %q must be file.function, such as index.handler", s)
	}
	return nil
}

func checkCode(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("code is empty; write a folder, such as ./api")
	case path.IsAbs(s) || strings.Contains(s, `\`):
		return fmt.Errorf("code %q must be a path relative to the manifest, with forward slashes", s)
	}
	return nil
}

func checkMemory(mb int) error {
	if mb < 128 || mb > 10240 {
		return fmt.Errorf("memory %d is out of range: 128 to 10240 (MB)", mb)
	}
	return nil
}

func checkTimeout(d time.Duration) error {
	if d < time.Second || d > maxTimeout || d%time.Second != 0 {
		return fmt.Errorf("timeout %s is out of range: 1s to 15m, in whole seconds", d)
	}
	return nil
}

// checkConcurrency takes 0 for the runtime's default.
func checkConcurrency(runtime string, n int) error {
	switch {
	case n < 0 || n > hansom.MaxSlots:
		return fmt.Errorf("concurrency %d is out of range: 1 to %d", n, hansom.MaxSlots)
	case n > 1 && !hansom.Concurrent(runtime):
		return fmt.Errorf("concurrency above 1 needs nodejs or http, which %s is not; leave it out or write 1", runtime)
	}
	return nil
}

// maxProvisioned leaves 100 of a project's concurrency to functions without it, as Lambda does.
const maxProvisioned = hansom.MaxConcurrency - 100

func checkProvisioned(n int) error {
	if n < 0 || n > maxProvisioned {
		return fmt.Errorf("provisioned %d is out of range: 0 to %d", n, maxProvisioned)
	}
	return nil
}

func checkReady(runtime, s string) error {
	switch {
	case s == "":
		return nil
	case runtime != hansom.RuntimeHTTP:
		return fmt.Errorf("ready is for the runtime http; leave it out")
	case !strings.HasPrefix(s, "/") || len(s) > maxReady || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }):
		return fmt.Errorf("ready %.80q must be a path such as /healthz: at most %d characters of ASCII without spaces", s, maxReady)
	}
	return nil
}

func checkEgress(s string) error {
	if hansom.CheckEgress(s) != nil {
		return fmt.Errorf("egress %.40q must be none, platform or internet", s)
	}
	return nil
}

// CheckVariable says what is wrong with the name of an environment variable.
func CheckVariable(name string) error {
	switch {
	case slices.Contains(reserved, name):
		return fmt.Errorf("environment variable %s is set by the platform and cannot be changed; choose another name", name)
	case !variablePattern.MatchString(name):
		return fmt.Errorf("environment variable %q must begin with a letter and have at least two letters, digits and underscores", name)
	}
	return nil
}

// checkPort keeps http functions from setting what tells them where to listen.
func checkPort(runtime string, env map[string]string) error {
	if _, ok := env["PORT"]; ok && runtime == hansom.RuntimeHTTP {
		return errors.New("environment variable PORT is set by the runtime http: remove it and listen on what it says")
	}
	return nil
}

func checkEnvironment(env map[string]string) error {
	b, err := json.Marshal(env) // Lambda measures the JSON
	if err != nil {
		return err
	}
	if len(env) > 0 && len(b) > hansom.MaxEnvironment {
		return fmt.Errorf("environment has %d bytes as JSON; the limit is %d", len(b), hansom.MaxEnvironment)
	}
	return nil
}

func checkLayer(s string) error {
	if !layerPattern.MatchString(s) {
		return fmt.Errorf("layer %.200q must be name:version, such as boto3:1, or the ARN of a version; `hansom layers ls` lists them", s)
	}
	return nil
}

// checkLayers checks what no single layer shows.
func checkLayers(layers []string) error {
	if len(layers) > maxLayers {
		return fmt.Errorf("layers has %d entries; the limit is %d", len(layers), maxLayers)
	}
	seen := map[string]bool{}
	for _, s := range layers {
		if err := checkLayer(s); err != nil {
			return err
		}
		name := hansom.LayerOf(s)
		if seen[name] {
			return fmt.Errorf("layers has %s twice; a function uses one version of a layer", name)
		}
		seen[name] = true
	}
	return nil
}

// ParseRoute splits an http entry: a method (or ANY), a space and a path. A segment of the path may be a parameter, {id}; the last may
// be greedy, {rest+}.
func ParseRoute(s string) (method, pattern string, err error) {
	method, pattern, ok := strings.Cut(s, " ")
	if !ok || !strings.HasPrefix(pattern, "/") {
		return "", "", fmt.Errorf("http %.200q must be a method and a path, such as \"GET /messages/{id}\"", s)
	}
	if !slices.Contains(methods, method) {
		if near := nearest(method, methods, 2); near != "" {
			return "", "", fmt.Errorf("http method %q is not known; did you mean %s?", method, near)
		}
		return "", "", fmt.Errorf("http method %q is not one of %s", method, strings.Join(methods, ", "))
	}
	if strings.ContainsAny(pattern, " \t?#%") || len(pattern) > 512 {
		return "", "", fmt.Errorf("http path %q must have no spaces, ?, # or %%, and at most 512 characters", pattern)
	}
	seen := map[string]bool{}
	segments := strings.Split(pattern[1:], "/")
	for i, segment := range segments {
		if segment == "" && len(segments) > 1 && i < len(segments)-1 {
			return "", "", fmt.Errorf("http path %q has an empty segment", pattern)
		}
		if !strings.ContainsAny(segment, "{}") {
			if strings.Contains(segment, "*") {
				return "", "", fmt.Errorf("http path %q: write {name+} for a path's rest, not *", pattern)
			}
			continue
		}
		name := strings.Trim(segment, "{+}")
		switch {
		case !paramPattern.MatchString(segment):
			return "", "", fmt.Errorf("http path %q: a parameter is a whole segment, such as /{id}", pattern)
		case strings.HasSuffix(segment, "+}") && i != len(segments)-1:
			return "", "", fmt.Errorf("http path %q: %s takes all that remains and must come last", pattern, segment)
		case seen[name]:
			return "", "", fmt.Errorf("http path %q has the parameter %s twice", pattern, name)
		}
		seen[name] = true
	}
	return method, pattern, nil
}

// routeSet finds routes that match the same requests; it maps method and path shape to the function that has them.
type routeSet map[string]string

func (r routeSet) add(method, pattern, fn string) error {
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = "{}"
			if strings.HasSuffix(s, "+}") {
				segments[i] = "{+}"
			}
		}
	}
	key := method + " " + strings.Join(segments, "/")
	if other, ok := r[key]; ok {
		return fmt.Errorf("http %q matches the same requests as one of functions.%s", method+" "+pattern, other)
	}
	r[key] = fn
	return nil
}
