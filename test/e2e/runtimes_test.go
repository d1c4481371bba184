package e2e

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
)

func variables(env map[string]string) func(*lambda.CreateFunctionInput) {
	return func(in *lambda.CreateFunctionInput) { in.Environment = &types.Environment{Variables: env} }
}

// wrapper changes the environment, the handler included, adds an argument of the interpreter and executes the rest.
const wrapper = `#!/bin/bash
export ADDED="by the wrapper" CHANGED="by the wrapper" _HANDLER=app.wrapped
interpreter=$1; shift
exec "$interpreter" $FLAG "$@"
`

// TestExecWrapper runs managed runtimes through AWS_LAMBDA_EXEC_WRAPPER.
func TestExecWrapper(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	env := map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bin/wrapper", "CHANGED": "by nobody"}
	for name, f := range map[string]struct {
		runtime    types.Runtime
		file, code string
		flag       string
	}{
		"node": {node22, "app.js", `exports.handler = async () => 'not wrapped';
exports.wrapped = async (event) => [process.env.ADDED, process.env.CHANGED, process.execArgv.includes('--trace-exit'), process.env.FLAG, event];`, "--trace-exit"},
		"python": {python311, "app.py", `import os, sys
def handler(event, context):
    return "not wrapped"
def wrapped(event, context):
    return [os.environ["ADDED"], os.environ["CHANGED"], sys.flags.optimize == 1, os.environ["FLAG"], event]
`, "-O"},
	} {
		t.Run(name, func(t *testing.T) {
			env["FLAG"] = f.flag
			create(t, c, name, f.runtime, pack(t, map[string]string{f.file: f.code, "bin/wrapper": wrapper}), variables(env))
			for range 2 {
				var got []any
				mustInvoke(t, c, name, `{"n":1}`, &got)
				if want := []any{"by the wrapper", "by the wrapper", true, f.flag, map[string]any{"n": 1.0}}; !reflect.DeepEqual(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
			}
		})
	}
	for name, f := range map[string]struct {
		path, want string
	}{
		"missing":  {"/opt/missing", "no such file or directory"},
		"text":     {"/var/task/app.js", "exec format error"},
		"relative": {"bin/wrapper", "not an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			create(t, c, name, node22, source(t, node22, `exports.handler = async () => 1`), variables(map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": f.path}))
			out, err := invoke(t.Context(), c, name, `{}`)
			if err != nil || out.errorType != "Runtime.InvalidEntrypoint" || !strings.Contains(out.errorMessage, f.path) || !strings.Contains(out.errorMessage, f.want) {
				t.Errorf("%s, %v, want %s", out.payload, err, f.want)
			}
		})
	}
}

// TestInternalExtensions sets the variables by which interpreters load code of their own.
func TestInternalExtensions(t *testing.T) {
	s := start(t, nil)
	if isolated, _ := isolation(t, s); !isolated {
		t.Skip("without mounts the paths in NODE_OPTIONS are the host's")
	}
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "node", node22, pack(t, map[string]string{"app.js": `exports.handler = async () => globalThis.loaded`, "lib/first.js": `globalThis.loaded = 'first'`}),
		variables(map[string]string{"NODE_OPTIONS": "--require /var/task/lib/first.js"}))
	create(t, c, "python", python311, pack(t, map[string]string{"app.py": "import first\ndef handler(event, context):\n    return first.loaded\n", "lib/first.py": "loaded = 'first'"}),
		variables(map[string]string{"PYTHONPATH": "/var/task/lib"}))
	for _, name := range []string{"node", "python"} {
		if out, err := invoke(t.Context(), c, name, `{}`); err != nil || out.payload != `"first"` {
			t.Errorf("%s: %s, %v", name, out.payload, err)
		}
	}
}
