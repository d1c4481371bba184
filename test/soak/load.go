package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	cloudwatchlogstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/test/bench/rig"
)

const crashing = `let kept = []
exports.handler = async (event) => {
  switch (event.how) {
    case 'throw': throw new Error('thrown')
    case 'exit': process.exit(3)
    case 'abort': process.abort()
    case 'memory': for (;;) kept.push(Buffer.alloc(8 << 20, 1))
    case 'timeout': await new Promise((resolve) => setTimeout(resolve, 60000))
  }
  console.log('fine')
  return 'fine'
}
`

const calling = `import socket

def handler(event, context):
    with socket.socket() as s:
        s.settimeout(0.02)
        try:
            s.connect(('8.8.8.8', 443))
        except TimeoutError:
            return
    raise RuntimeError('somebody answered')
`

// mix is the load: what runs side by side in every cycle.
type mix struct {
	server *rig.Server
	dir    string
	serial atomic.Int64
	done   atomic.Int64
	egress bool              // whether functions can reach the internet
	queues map[string]string // URLs by name
	fifo   bool              // what queueLife made last

	logs   *cloudwatchlogs.Client
	mu     sync.Mutex
	groups []string // log groups of functions that are gone
	counts map[string]int
	failed map[string]error // the first failure of each kind of operation
	errors int
}

// prepare makes the functions and queues that live for the whole run. code is the package of a function in Go.
func prepare(ctx context.Context, s *rig.Server, dir string, code []byte, egress bool) (*mix, error) {
	m := &mix{server: s, dir: dir, egress: egress, logs: s.Logs(), counts: map[string]int{}, failed: map[string]error{}}
	for _, f := range []rig.Function{
		{Name: "node", Runtime: types.RuntimeNodejs22x, Handler: "app.handler", Code: rig.Zip("app.js", []byte(rig.NodeHello))},
		{Name: "python", Runtime: types.RuntimePython311, Handler: "app.handler", Code: rig.Zip("app.py", []byte(rig.PythonHello))},
		{Name: "go", Runtime: types.RuntimeProvidedal2023, Handler: "bootstrap", Code: code},
		{Name: "crash", Runtime: types.RuntimeNodejs22x, Handler: "app.handler", Code: rig.Zip("app.js", []byte(crashing))},
	} {
		if err := s.Create(ctx, f); err != nil {
			return nil, err
		}
	}
	if err := m.limit(ctx, "crash", 3); err != nil {
		return nil, err
	}
	if err := m.prepareQueues(ctx); err != nil {
		return nil, err
	}
	// As many calls at once in an instance.
	manifest := "name: many\nfunctions:\n  f: {runtime: nodejs22.x, code: ., handler: app.handler, concurrency: 4}\n"
	return m, s.Deploy(ctx, filepath.Join(dir, "many"), "", map[string]string{"app.js": rig.NodeHello, "hansom.yaml": manifest})
}

// cycle runs the mix for d, and returns when all of it has ended.
func (m *mix) cycle(ctx context.Context, d time.Duration) {
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	again := func(kind string, pause time.Duration, do func(context.Context) error) {
		wg.Go(func() {
			for ctx.Err() == nil && time.Now().Before(end) {
				m.note(ctx, kind, do(ctx))
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	for _, name := range []string{"node", "python", "go", "many-f"} {
		for range 2 {
			again("call "+name, 5*time.Millisecond, func(ctx context.Context) error { return m.call(ctx, name) })
		}
	}
	again("asynchronous call", 50*time.Millisecond, m.event)
	again("crash", 20*time.Millisecond, m.crash)
	again("function's life", 10*time.Millisecond, m.life)
	again("layer's life", 100*time.Millisecond, m.layer)
	again("app's life", 500*time.Millisecond, m.app)
	for range 2 {
		again("messages sent, received and deleted", 5*time.Millisecond, m.messages)
	}
	again("messages to a function", 20*time.Millisecond, m.mapped)
	again("poison messages", 20*time.Millisecond, m.poison)
	again("queue's life", 50*time.Millisecond, m.queueLife)
	if m.egress {
		again("function on the internet", 50*time.Millisecond, m.internet)
	}
	wg.Wait()
}

// tidy removes the log groups of functions that are gone: they are kept on purpose, and are no leak.
func (m *mix) tidy(ctx context.Context) {
	m.mu.Lock()
	groups := m.groups
	m.groups = nil
	m.mu.Unlock()
	for _, group := range groups {
		_, err := m.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &group})
		var missing *cloudwatchlogstypes.ResourceNotFoundException
		if errors.As(err, &missing) {
			err = nil
		}
		m.note(ctx, "log group removed", err)
	}
}

// note counts an operation; what fails because the run is interrupted does not count.
func (m *mix) note(ctx context.Context, kind string, err error) {
	if ctx.Err() != nil {
		return
	}
	m.done.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[kind]++
	if err != nil {
		m.errors++
		if m.failed[kind] == nil {
			m.failed[kind] = err
			fmt.Fprintf(os.Stderr, "soak: %s: %v\n", kind, err)
		}
	}
}

func (m *mix) failures() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.errors
}

func (m *mix) summary() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(m.counts)) {
		out = append(out, fmt.Sprintf("%d x %s", m.counts[kind], kind))
	}
	return strings.Join(out, ", ") + "\n"
}

// next is a name that was not used before; the function's has the suffix too.
func (m *mix) next(prefix, suffix string) string {
	name := fmt.Sprintf("%s-%d", prefix, m.serial.Add(1))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups = append(m.groups, "/aws/lambda/"+name+suffix)
	return name
}

func (m *mix) call(ctx context.Context, name string) error {
	answer, err := m.server.Client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: []byte(`{"rawPath":"/soak"}`)})
	if err != nil {
		return err
	}
	if answer.FunctionError != nil {
		return fmt.Errorf("%s: %s %s", name, *answer.FunctionError, answer.Payload)
	}
	return nil
}

func (m *mix) event(ctx context.Context) error {
	_, err := m.server.Client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("python"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{}`)})
	return err
}

// crash lets a function end badly in one of several ways.
func (m *mix) crash(ctx context.Context) error {
	how := []string{"throw", "exit", "memory", "abort", "timeout", "not at all"}[m.serial.Add(1)%6]
	answer, err := m.server.Client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("crash"), Payload: fmt.Appendf(nil, `{"how":%q}`, how)})
	if err != nil {
		return err
	}
	if (answer.FunctionError == nil) != (how == "not at all") {
		return fmt.Errorf("%s was answered with %s", how, answer.Payload)
	}
	return nil
}

func (m *mix) updated(ctx context.Context, name string) error {
	wait := lambda.NewFunctionUpdatedV2Waiter(m.server.Client, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	})
	return wait.Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
}

// limit gives a function a timeout in seconds.
func (m *mix) limit(ctx context.Context, name string, timeout int32) error {
	if _, err := m.server.Client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: &name, Timeout: &timeout}); err != nil {
		return err
	}
	return m.updated(ctx, name)
}

// life makes a function, calls, updates and publishes it, and removes it.
func (m *mix) life(ctx context.Context) error {
	name, c := m.next("life", ""), m.server.Client
	f, file, text := rig.Function{Name: name, Runtime: types.RuntimeNodejs22x, Handler: "app.handler"}, "app.js", rig.NodeHello+"// "
	if m.serial.Load()%2 == 0 {
		f.Runtime, file, text = types.RuntimePython311, "app.py", rig.PythonHello+"# "
	}
	f.Code = rig.Zip(file, []byte(text+name+"\n"))
	if err := m.server.Create(ctx, f); err != nil {
		return err
	}
	if err := m.call(ctx, name); err != nil {
		return err
	}
	f.Code = rig.Zip(file, []byte(text+name+" again\n"))
	if _, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: f.Code}); err != nil {
		return err
	}
	if err := m.updated(ctx, name); err != nil {
		return err
	}
	if err := m.call(ctx, name); err != nil {
		return err
	}
	if _, err := c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: &name, Environment: &types.Environment{Variables: map[string]string{"NAME": name}}}); err != nil {
		return err
	}
	if err := m.updated(ctx, name); err != nil {
		return err
	}
	version, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &name})
	if err != nil {
		return err
	}
	// It boots while the function is removed.
	_, provision := c.PutProvisionedConcurrencyConfig(ctx, &lambda.PutProvisionedConcurrencyConfigInput{FunctionName: &name, Qualifier: version.Version, ProvisionedConcurrentExecutions: aws.Int32(1)})
	_, alias := c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: &name, Name: aws.String("live"), FunctionVersion: version.Version})
	called := m.call(ctx, name+":live")
	_, url := m.server.URL(ctx, name)
	_, remove := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name})
	return errors.Join(provision, alias, called, url, remove)
}

// layer publishes a layer, calls a function that has it, and removes both.
func (m *mix) layer(ctx context.Context) error {
	name, c := m.next("layered", ""), m.server.Client
	published, err := c.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: &name, Content: &types.LayerVersionContentInput{ZipFile: rig.Zip("python/extra.py", []byte("name = '"+name+"'\n"))}})
	if err != nil {
		return err
	}
	text := "import extra\n" + rig.PythonHello + "# " + name + "\n"
	if err := m.server.Create(ctx, rig.Function{Name: name, Runtime: types.RuntimePython311, Handler: "app.handler", Code: rig.Zip("app.py", []byte(text))}); err != nil {
		return err
	}
	_, err = c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: &name, Layers: []string{*published.LayerVersionArn}})
	if err != nil {
		return err
	}
	if err := m.updated(ctx, name); err != nil {
		return err
	}
	called := m.call(ctx, name)
	_, remove := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name})
	_, removeLayer := c.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: &name, VersionNumber: &published.Version})
	return errors.Join(called, remove, removeLayer)
}

// internet lets a function begin and end that sends to a public address, where nobody answers.
func (m *mix) internet(ctx context.Context) error {
	name := m.next("internet", "")
	f := rig.Function{Name: name, Runtime: types.RuntimePython311, Handler: "app.handler", Code: rig.Zip("app.py", []byte(calling+"# "+name+"\n")), Tags: map[string]string{"hansom:egress": "internet"}}
	if err := m.server.Create(ctx, f); err != nil {
		return err
	}
	called := m.call(ctx, name)
	_, remove := m.server.Client.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name})
	return errors.Join(called, remove)
}

// app deploys an app with the command line, changes it, and removes it.
func (m *mix) app(ctx context.Context) error {
	name := m.next("app", "-f")
	dir := filepath.Join(m.dir, name)
	defer os.RemoveAll(dir)
	manifest := "name: " + name + "\nfunctions:\n  f:\n    runtime: nodejs22.x\n    code: .\n    handler: app.handler\n    http: [\"GET /hello\"]\n"
	for _, text := range []string{rig.NodeHello, rig.NodeHello + "// changed\n"} {
		if err := m.server.Deploy(ctx, dir, "", map[string]string{"app.js": text + "// " + name + "\n", "hansom.yaml": manifest}); err != nil {
			return err
		}
		if err := m.call(ctx, name+"-f"); err != nil {
			return err
		}
	}
	_, err := m.server.Command(ctx, "rm", name, "--yes")
	return err
}
