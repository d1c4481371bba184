package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
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

// hosted tells whether the server's machine has the runtime, and which version runs it.
func hosted(t *testing.T, s *hansomtest.Server, family string) {
	t.Helper()
	_, body := manage(t, s.API(), hansomtest.Credentials, "GET", "info", "")
	if !strings.Contains(body, `"`+family) {
		t.Skipf("this machine has no %s: run scripts/setup.sh", family)
	}
}

// TestRuby deploys a function with a gem in the package, an error and an exit.
func TestRuby(t *testing.T) {
	s := start(t, nil)
	hosted(t, s, "ruby")
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "ruby", types.RuntimeRuby33, pack(t, map[string]string{
		"app.rb": `require 'json'
require_relative 'lib/greeting'
def handler(event:, context:)
  puts "printed ünï for #{context.aws_request_id}"
  raise ArgumentError, event['error'] if event['error']
  exit 7 if event['exit']
  require 'bundled'
  {greeting: Greeting.to(event['name']), left: context.get_remaining_time_in_millis > 1000, version: RUBY_VERSION, bundled: BUNDLED, wrapped: ENV['ADDED'],
   execution: ENV['AWS_EXECUTION_ENV'], function: context.function_name}
end
`,
		"lib/greeting.rb": "module Greeting\n  def self.to(name) = \"hello #{name}\"\nend\n",
		"vendor/bundle/ruby/3.3.0/specifications/bundled-1.0.0.gemspec": "Gem::Specification.new { |s| s.name, s.version, s.summary, s.authors = 'bundled', '1.0.0', 's', ['a'] }\n",
		"vendor/bundle/ruby/3.3.0/gems/bundled-1.0.0/lib/bundled.rb":    "BUNDLED = 'from the bundle'\n",
		"wrapper": "#!/bin/bash\nexport ADDED='by the wrapper'\nexec \"$@\"\n",
	}), variables(map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}))
	for range 2 {
		var got map[string]any
		mustInvoke(t, c, "ruby", `{"name":"ünï"}`, &got)
		delete(got, "version")
		if want := (map[string]any{"greeting": "hello ünï", "left": true, "bundled": "from the bundle", "wrapped": "by the wrapper", "execution": "AWS_Lambda_ruby3.3", "function": "ruby"}); !reflect.DeepEqual(got, want) {
			t.Errorf("%v\nwant %v", got, want)
		}
	}
	if out, err := invoke(t.Context(), c, "ruby", `{"error":"as told"}`); err != nil || out.errorType != "Function<ArgumentError>" || out.errorMessage != "as told" || !strings.Contains(out.log, "printed ünï for ") {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := invoke(t.Context(), c, "ruby", `{"exit":true}`); err != nil || out.errorType != "Function<SystemExit>" {
		t.Errorf("%+v, %v", out, err)
	}
	var again map[string]any
	mustInvoke(t, c, "ruby", `{"name":"again"}`, &again)
	create(t, c, "broken", types.RuntimeRuby33, pack(t, map[string]string{"app.rb": "raise 'as told'"}))
	if out, err := invoke(t.Context(), c, "broken", `{}`); err != nil || out.errorType != "Init<RuntimeError>" || out.errorMessage != "as told" {
		t.Errorf("%+v, %v", out, err)
	}
}

// javaFunction is compiled against the interfaces of aws-lambda-java-core.
const javaFunction = `package example;

import com.amazonaws.services.lambda.runtime.*;
import java.util.*;

public class App implements RequestHandler<App.Order, Map<String, Object>> {
    public static class Order {
        private String id;
        private List<Integer> amounts;
        public void setId(String v) { id = v; }
        public void setAmounts(List<Integer> v) { amounts = v; }
    }

    public Map<String, Object> handleRequest(Order o, Context c) {
        c.getLogger().log("ordered ünï " + c.getAwsRequestId());
        if (o.amounts == null) throw new IllegalArgumentException("as told");
        Map<String, Object> m = new TreeMap<>();
        m.put("id", o.id);
        m.put("total", o.amounts.stream().mapToInt(i -> i).sum());
        m.put("function", c.getFunctionName());
        m.put("heap", Runtime.getRuntime().maxMemory() < 512 << 20);
        m.put("option", System.getProperty("option"));
        m.put("library", library.Library.NAME);
        try {
            m.put("digest", java.security.MessageDigest.getInstance("SHA-256").digest(new byte[0]).length);
            m.put("tmp", java.nio.file.Files.createTempFile("a", "b").toString().startsWith("/tmp/"));
        } catch (Exception e) { throw new RuntimeException(e); }
        return m;
    }
}
`

// TestJava deploys a jar that javac has made here.
func TestJava(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	hosted(t, s, "java")
	javac, err := exec.LookPath("javac")
	if err != nil {
		t.Skip("compiling the function needs a JDK: run scripts/setup.sh")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	tool := func(argv ...string) {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	classes, lib := filepath.Join(dir, "classes"), filepath.Join(dir, "lib")
	tool(javac, "--release", "11", "-encoding", "UTF-8", "-d", lib, write("src/library/Library.java", "package library;\npublic class Library { public static String NAME = \"from the library\"; }\n"))
	tool(javac, "--release", "11", "-encoding", "UTF-8", "-cp", lib, "-sourcepath", "../../internal/runtimes/testdata/java/core", "-d", classes,
		write("src/example/App.java", javaFunction))
	jar := filepath.Join(filepath.Dir(javac), "jar")
	if err := os.Mkdir(filepath.Join(classes, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	tool(jar, "--create", "--file", filepath.Join(classes, "lib", "library.jar"), "-C", lib, ".")
	tool(jar, "--create", "--file", filepath.Join(dir, "app.jar"), "-C", classes, ".")
	code, err := os.ReadFile(filepath.Join(dir, "app.jar"))
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, s.API(), hansomtest.Credentials)
	handler := func(h string) func(*lambda.CreateFunctionInput) {
		return func(in *lambda.CreateFunctionInput) { in.Handler = &h }
	}
	create(t, c, "java", types.RuntimeJava17, code, handler("example.App"), memory(512), variables(map[string]string{"JAVA_TOOL_OPTIONS": "-Doption=set"}))
	for range 3 {
		var got map[string]any
		mustInvoke(t, c, "java", `{"id":"ünï","amounts":[40,2],"more":{}}`, &got)
		want := map[string]any{"id": "ünï", "total": 42.0, "function": "java", "heap": true, "option": "set", "library": "from the library", "digest": 32.0, "tmp": true}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\nwant %v", got, want)
		}
	}
	if out, err := invoke(t.Context(), c, "java", `{}`); err != nil || out.errorType != "java.lang.IllegalArgumentException" || out.errorMessage != "as told" || !strings.Contains(out.log, "ordered ünï ") {
		t.Errorf("%+v, %v", out, err)
	}
	create(t, c, "missing", types.RuntimeJava21, code, handler("example.Missing"), memory(256))
	if out, err := invoke(t.Context(), c, "missing", `{}`); err != nil || out.errorType != "java.lang.ClassNotFoundException" || out.errorMessage != "Class not found: example.Missing" {
		t.Errorf("%+v, %v", out, err)
	}
}
