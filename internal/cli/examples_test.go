package cli

import (
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// realMain is what cmd/hansom does.
func realMain() int {
	return Main(Options{
		NewServer: func(ctx context.Context, cfg server.Config, logger *slog.Logger) (Server, error) {
			return server.New(ctx, cfg, logger)
		},
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
	})
}

// commands calls f with each command of the program but topics.
func commands(f func(cmd *cobra.Command)) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.IsAdditionalHelpTopicCommand() {
			return
		}
		f(cmd)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	root := newProgram(Options{}).root()
	root.InitDefaultHelpCmd()
	walk(root)
}

// prepared is what some examples need before they run, by how they begin.
var prepared = []struct{ example, script string }{
	{"hansom alias rm", "hansom alias set hello-node live 1"},
	{"hansom diff", "hansom deploy examples/hello"},
	{"hansom env unset", "hansom env set hello-node GREETING=Hi"},
	{"hansom keys create ci --project acme", "hansom projects create acme"},
	{"hansom layers ls boto3", "hansom layers publish boto3 ./layer"},
	{"hansom layers rm", "hansom layers publish boto3 ./layer"},
	{"hansom projects create acme", "hansom projects rm acme --yes || true"},
	{"hansom projects rm acme", "hansom projects create acme || true"},
	{"hansom projects set acme", "hansom projects create acme || true"},
	{"hansom events send", `echo '{"total":120}' >detail.json`},
	{"hansom events test-pattern", `echo '{"source":"shop"}' >event.json; echo '{"source":["shop"]}' >pattern.json`},
	{"hansom queue", "hansom deploy orders"},
	{"hansom restore", "hansom backup hansom.tar.gz"},
	{"hansom rollback", "hansom deploy examples/hello; sed -i 's/Hello}/Hi}/' examples/hello/hansom.yaml; hansom deploy examples/hello"},
	{"hansom routes", "hansom deploy guestbook"},
	{"hansom schedule", "hansom deploy orders"},
	{"hansom versions rm", "hansom alias rm hello-node live --yes || true"},
}

// endless are those that run until they are told to stop.
var endless = regexp.MustCompile(`hansom (dev|serve)|hansom logs (-f|--follow)|hansom events tail`)

// Every example in the help of every command does what it says, against a real server with examples/hello.
func TestExamples(t *testing.T) {
	srv := hansomtest.Start(t, nil)
	x := &examples{srv: srv, client: client.New(srv.API(), "", hansomtest.Credentials, "")}
	t.Cleanup(x.client.Close)
	work := x.folder(t)
	x.must(t, work, "hansom deploy examples/hello && hansom versions publish hello-node && hansom env set hello-node SECOND=1 && hansom versions publish hello-node")
	zip, err := os.ReadFile("testdata/function.zip")
	if err != nil {
		t.Fatal(err)
	}
	mine := map[string]any{"FunctionName": "my-function", "Runtime": "nodejs22.x", "Handler": "index.handler", "Role": "arn:aws:iam::000000000000:role/mine",
		"Code": map[string]string{"ZipFile": base64.StdEncoding.EncodeToString(zip)}}
	if err := x.client.Call(t.Context(), "POST", "/2015-03-31/functions", mine, nil); err != nil {
		t.Fatal(err)
	}
	if err := x.client.AWS(t.Context(), "events", "AWSEvents.CreateEventBus", map[string]string{"Name": "partners"}, nil); err != nil {
		t.Fatal(err)
	}
	var lines, last []string // what removes comes last
	commands(func(cmd *cobra.Command) {
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			line = strings.TrimSpace(line)
			if !strings.Contains(line, cmd.CommandPath()) {
				t.Errorf("%s is no example of %s", line, cmd.CommandPath())
			}
			switch {
			case slices.Contains(lines, line): // in the help of another command too
			case strings.HasPrefix(line, "hansom layers add boto3"), strings.HasPrefix(line, "hansom layers add aws-sdk"): // half a minute each; test/e2e runs them
			case strings.HasPrefix(line, "hansom rm "):
				last = append(last, line)
			default:
				lines = append(lines, line)
			}
		}
	})
	for _, line := range append(lines, last...) {
		t.Run(strings.ReplaceAll(line, "/", "_"), func(t *testing.T) {
			dir := x.folder(t)
			for _, p := range prepared {
				if strings.HasPrefix(line, p.example) {
					x.must(t, dir, p.script)
				}
			}
			if strings.Contains(line, "AKIAIOSFODNN7EXAMPLE") {
				line = strings.ReplaceAll(line, "AKIAIOSFODNN7EXAMPLE", x.key(t))
			}
			if endless.MatchString(line) {
				x.startAndEnd(t, dir, line)
			} else {
				x.must(t, dir, line)
			}
		})
	}
}

type examples struct {
	srv    *hansomtest.Server
	client *client.Client
}

// folder makes one with what examples name.
func (x *examples) folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples", "hello"), os.DirFS("../../examples/hello")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"event.json": `{"name":"Ada"}`, "token.txt": "s3cr3t\n", ".env": "COLOUR=green\n", "layer/python/tool.py": "x = 1\n",
		"guestbook/hansom.yaml": "name: guestbook\nopenapi: api.yaml\n",
		"guestbook/api.yaml": "openapi: 3.0.1\ninfo: {title: guestbook, version: '1'}\npaths:\n  /messages/{id}:\n    get: {x-amazon-apigateway-integration: {type: aws_proxy, integrationSubtype: Hansom-Respond, requestParameters: {Body: hi}}}\n" +
			"  /messages:\n    post: {x-amazon-apigateway-integration: {type: aws_proxy, integrationSubtype: Hansom-Respond, requestParameters: {Body: hi}}}\n",
		"orders/hansom.yaml": "name: orders\nqueues: {charge: {deadLetter: charge-dead}, later: {}, ledger: {fifo: true}}\n" +
			"functions: {api: {runtime: nodejs22.x, code: ., handler: index.handler}, report: {runtime: nodejs22.x, code: ., handler: index.handler, schedule: [rate(1 day)]}}\n", "orders/index.mjs": "export const handler = () => 1;\n"})
	return dir
}

// start runs a line of a shell in dir, in a process group of its own.
func (x *examples) start(t *testing.T, dir, line string, out *screen) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("bash", "-c", line)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	api := x.srv.APIAddr()
	if strings.Contains(line, "hansom dev") || strings.Contains(line, "hansom serve") {
		api = "127.0.0.1:0" // a server of its own
	}
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "HANSOM_") || strings.HasPrefix(e, "AWS_") }),
		"HANSOM_API="+api, "HANSOM_EDGE=127.0.0.1:0", "HANSOM_EGRESS=platform", "HANSOM_ACCESS_KEY_ID=test", "HANSOM_SECRET_ACCESS_KEY=test", "HANSOM_INSECURE_NO_ISOLATION=1",
		"GORACE=atexit_sleep_ms=0") // else each command takes a second more under the race detector
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func (x *examples) must(t *testing.T, dir, line string) {
	t.Helper()
	out := newScreen()
	if err := x.start(t, dir, line, out).Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out.text.String())
	}
}

// startAndEnd waits until a line that does not end shows that it works, then ends it as Ctrl-C does.
func (x *examples) startAndEnd(t *testing.T, dir, line string) {
	t.Helper()
	out := newScreen()
	cmd := x.start(t, dir, line, out)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s: %v\n%s", line, err, out.text.String())
			}
		case <-time.After(2 * time.Minute):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			t.Errorf("%s does not end", line)
		}
	}()
	var cause func() error // makes something that is followed
	switch {
	case strings.Contains(line, "hansom logs"):
		cause = func() error {
			_, err := x.client.Invoke(t.Context(), client.Invocation{Function: "hello-node", Type: "RequestResponse", Payload: []byte("{}")})
			return err
		}
	case strings.Contains(line, "hansom events tail"):
		bus := "default"
		if strings.Contains(line, "--bus partners") {
			bus = "partners"
		}
		cause = func() error {
			entry := map[string]string{"EventBusName": bus, "Source": "shop", "DetailType": "t", "Detail": "{}"}
			return x.client.AWS(t.Context(), "events", "AWSEvents.PutEvents", map[string]any{"Entries": []any{entry}}, nil)
		}
	}
	if cause != nil {
		for range 100 { // until it follows
			if err := cause(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-out.changed:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
		t.Error("nothing came")
		return
	}
	want := "edge "
	if strings.Contains(line, "hansom dev") {
		want = "  GET " // a route of the app that is deployed
	}
	out.expect(t, want)
}

// key makes an access key and returns its id.
func (x *examples) key(t *testing.T) string {
	t.Helper()
	var k struct {
		AccessKeyID string `json:"accessKeyId"`
	}
	if err := x.client.Call(t.Context(), "POST", "/_hansom/v1/keys", map[string]string{"name": "old"}, &k); err != nil {
		t.Fatal(err)
	}
	return k.AccessKeyID
}
