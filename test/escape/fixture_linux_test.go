// Package escape tries to get out of a sandbox: hostile functions in Go, Python and Node.js knock at every door, and none may open.
// testdata/attempts.txt lists the attempts.
package escape

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// event is what the hostile programs are told: they may guess well.
type event struct {
	Attempt     string   `json:"attempt"`
	Secret      string   `json:"secret"`
	Data        string   `json:"data"`
	Init        int      `json:"init"`
	PID         int      `json:"pid"`
	OtherInit   int      `json:"otherInit"`
	OtherPort   int      `json:"otherPort"`
	OtherDigest string   `json:"otherDigest"`
	TCP         []string `json:"tcp"`
	Abstract    string   `json:"abstract"`
	Socket      string   `json:"socket"`
	Key         int      `json:"key"`
	Calls       []int    `json:"calls,omitempty"`
	Project     string   `json:"project"`
	Function    string   `json:"function"`
	Own         string   `json:"own"`
	Credentials []string `json:"credentials"`
	Expired     []string `json:"expired"`
	Deleted     []string `json:"deleted"`
}

// answer of a hostile program; of one that did not answer, Result is the type of the function's error.
type answer struct{ Result, Detail string }

// fixture is a server with hostile functions of one project, and what they are after: a victim in another project and things of
// the host.
type fixture struct {
	*hansomtest.Server
	own, other *lambda.Client
	event      event
	programs   map[string]string // source or binary of the program in each language
	setuid     string            // directory with a program that belongs to root and is setuid
}

// languages are the hostile programs; "go" is static.
var languages = map[string]struct {
	runtime types.Runtime
	file    string
	handler string
}{
	"go":     {types.RuntimeProvidedal2023, "bootstrap", "x"},
	"python": {types.RuntimePython311, "app.py", "app.handler"},
	"node":   {types.RuntimeNodejs22x, "app.mjs", "app.handler"},
}

const (
	memory     = 256 // MB of the functions whose name is hostile-<language>
	slowMemory = 512 // of hostile-<language>-slow, which have a second
	victimPort = 8099
)

func newFixture(t *testing.T, change func(*server.Config)) *fixture {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the escape suite needs root, for the linux driver as servers run it and for what it tries outside sandboxes")
	}
	f := &fixture{programs: map[string]string{}, event: event{Init: 1}}
	f.build(t)
	f.Server = hansomtest.Start(t, func(c *server.Config) {
		c.Driver, c.LogSize = "linux", 16
		if change != nil {
			change(c)
		}
	})
	f.own = client(t, f.API(), hansomtest.Credentials)
	f.hostThings(t)
	for language := range languages {
		f.create(t, f.own, "hostile-"+language, language, memory, 60)
		f.create(t, f.own, "hostile-"+language+"-slow", language, slowMemory, 1)
	}
	f.awaitBlanks(t)
	f.event.Calls = forbiddenCalls()
	f.event.Own = "arn:aws:lambda:us-east-1:000000000000:function:hostile-python"
	f.victim(t)
	f.sessions(t)
	// What a zip cannot bring: a setuid program of root beside the code.
	f.attempt(t.Context(), "hostile-go", "see other processes")
	unpacked, err := filepath.Glob(f.Config.Data + "/code/*/bootstrap")
	if err != nil || len(unpacked) != 1 {
		t.Fatal("the code of the Go function is not unpacked: ", unpacked, err)
	}
	program := filepath.Dir(unpacked[0]) + "/setuid"
	for _, err := range []error{os.WriteFile(program, []byte(f.programs["go"]), 0o755), os.Chmod(program, os.ModeSetuid|0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// kinds of blanks that fit the functions: one for Python, and one for each memory size of Node.js.
const kinds = 3

// awaitBlanks waits until each function finds a blank, unless there are none.
func (f *fixture) awaitBlanks(t *testing.T) {
	t.Helper()
	if f.Config.Blanks == 0 {
		return
	}
	ready := func() bool {
		return f.metric(t, `hansom_blanks{state="ready"}`) >= kinds && f.metric(t, `hansom_blanks{state="booting"}`) == 0
	}
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("there are no blanks within a minute")
		}
	}
}

// metric is the value of a metric with its labels.
func (f *fixture) metric(t *testing.T, name string) (value float64) {
	t.Helper()
	resp, err := http.Get(f.API() + "/_hansom/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	_, after, found := strings.Cut(string(text), "\n"+name+" ")
	if _, scanned := fmt.Sscan(after, &value); err != nil || scanned != nil || !found {
		t.Fatalf("metric %s: %v, %v", name, err, scanned)
	}
	return value
}

// build makes the programs.
func (f *fixture) build(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/hostile", "./hostile")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for language, file := range map[string]string{"go": dir + "/hostile", "python": "testdata/hostile.py", "node": "testdata/hostile.mjs"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f.programs[language] = string(text)
	}
	for name, file := range map[string]string{"hostile": "go", "hostile.py": "python", "hostile.mjs": "node"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.programs[file]), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// As nobody sees it when no sandbox hinders it.
	f.setuid = dir
	for _, err := range []error{
		os.WriteFile(dir+"/setuid", []byte(f.programs["go"]), 0o755), os.Chmod(dir+"/setuid", os.ModeSetuid|0o755), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// hostThings makes what a program outside a sandbox could reach.
func (f *fixture) hostThings(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "escape")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := &f.event
	e.Data, e.Secret, e.Socket, e.Abstract = f.Config.Data, dir+"/secret", dir+"/socket", "hansom-"+rand.Text()
	e.OtherPort, e.Key = victimPort, int(time.Now().UnixNano()&0x3fffffff)|1
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(e.Secret, []byte("of the host"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []struct{ network, address string }{{"unix", e.Socket}, {"unix", "@" + e.Abstract}, {"tcp", "0.0.0.0:0"}, {"tcp", "[::1]:0"}} {
		l, err := net.Listen(at.network, at.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		if at.network == "tcp" {
			e.TCP = append(e.TCP, strings.Replace(l.Addr().String(), "[::]", "127.0.0.1", 1))
		}
	}
	e.TCP = append(e.TCP, f.APIAddr(), f.EdgeAddr())
	if addresses, err := net.InterfaceAddrs(); err == nil { // the host by its other addresses
		for _, a := range addresses {
			if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
				_, port, _ := net.SplitHostPort(e.TCP[0])
				e.TCP = append(e.TCP, net.JoinHostPort(ip.IP.String(), port))
			}
		}
	}
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Process.Kill()
		process.Wait()
	})
	e.PID = process.Process.Pid
	for _, number := range []uintptr{unix.SYS_SHMGET, unix.SYS_SEMGET, unix.SYS_MSGGET} {
		args := []uintptr{uintptr(e.Key), 4096, 0o666 | 0o1000}
		remove := func(id uintptr) { unix.Syscall(unix.SYS_SHMCTL, id, 0, 0) }
		switch number {
		case unix.SYS_SEMGET:
			args[1] = 1
			remove = func(id uintptr) { unix.Syscall(unix.SYS_SEMCTL, id, 0, 0) }
		case unix.SYS_MSGGET:
			args[1] = 0o666 | 0o1000
			remove = func(id uintptr) { unix.Syscall(unix.SYS_MSGCTL, id, 0, 0) }
		}
		id, _, errno := unix.Syscall(number, args[0], args[1], args[2])
		if errno != 0 {
			t.Fatal(errno)
		}
		t.Cleanup(func() { remove(id) })
	}
}

// victim makes a project with a function that has what others would like to have.
func (f *fixture) victim(t *testing.T) {
	t.Helper()
	e := &f.event
	var project struct{ ID string }
	f.manage(t, "POST", "projects", `{"slug":"victim"}`, &project)
	var session struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	f.manage(t, "POST", "projects/victim/sessions", "", &session)
	f.other = client(t, f.API(), hansom.Credentials{AccessKeyID: session.AccessKeyID, SecretAccessKey: session.SecretAccessKey, SessionToken: session.SessionToken})
	e.Project, e.Function = project.ID, "arn:aws:lambda:us-east-1:"+project.ID+":function:victim"
	before := inits(t)
	secret := make([]byte, 16)
	rand.Read(secret)
	code := zipOf(t, map[string]string{"app.py": f.programs["python"]})
	e.OtherDigest = fmt.Sprintf("%x", sha256.Sum256(code))
	in := &lambda.CreateFunctionInput{
		FunctionName: aws.String("victim"), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"), Timeout: aws.Int32(60),
		Role: aws.String("arn:aws:iam::" + project.ID + ":role/victim"), MemorySize: aws.Int32(memory), Code: &types.FunctionCode{ZipFile: code},
		Environment: &types.Environment{Variables: map[string]string{"SECRET": "escape-victim-secret-" + hex.EncodeToString(secret)}},
	}
	if _, err := f.other.CreateFunction(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	active(t, f.other, "victim")
	if n := f.askVictim(t); n != 1 {
		t.Fatalf("the victim's first call is number %d", n)
	}
	for pid := range inits(t) {
		if !before[pid] {
			e.OtherInit = pid
		}
	}
	if e.OtherInit == 0 {
		t.Fatal("the victim's sandbox has no init")
	}
}

// askVictim returns the number of the call to the victim's instance.
func (f *fixture) askVictim(t *testing.T) (calls int) {
	t.Helper()
	e := f.event
	e.Attempt = "victim"
	a := call(t.Context(), f.other, "victim", e)
	if _, err := fmt.Sscan(a.Result, &calls); err != nil {
		t.Fatalf("the victim answers %+v", a)
	}
	if err := json.Unmarshal([]byte(a.Detail), &f.event.Credentials); err != nil {
		t.Fatal(err)
	}
	return calls
}

// sessions makes credentials that should not be good any more.
func (f *fixture) sessions(t *testing.T) {
	t.Helper()
	f.create(t, f.own, "deleted", "python", memory, 60)
	e := f.event
	e.Attempt, e.OtherPort = "victim", 8100
	a := call(t.Context(), f.own, "deleted", e)
	if err := json.Unmarshal([]byte(a.Detail), &f.event.Deleted); err != nil {
		t.Fatalf("%v: %+v", err, a)
	}
	if _, err := f.own.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("deleted")}); err != nil {
		t.Fatal(err)
	}
	// A server with the same master key two days ago.
	key, err := auth.LoadMasterKey(f.Config.Data, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "past.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cfg := auth.DefaultConfig()
	cfg.Now = func() time.Time { return time.Now().Add(-48 * time.Hour) }
	past, err := auth.New(t.Context(), cfg, d, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := past.IssueFunction(&hansom.Version{Project: "000000000000", Function: "hostile-python", Region: "us-east-1", Role: "arn:aws:iam::000000000000:role/escape"}, 12*time.Hour)
	f.event.Expired = []string{c.AccessKeyID, c.SecretAccessKey, c.SessionToken}
}

// inits are the inits of sandboxes that belong to this process.
func inits(t *testing.T) map[int]bool {
	t.Helper()
	found := map[int]bool{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline")
		stat, _ := os.ReadFile(dir + "/stat")
		var pid, parent int
		var state string
		_, after, ok := strings.Cut(string(stat), ") ")
		fmt.Sscan(filepath.Base(dir), &pid)
		fmt.Sscan(after, &state, &parent)
		if ok && parent == os.Getpid() && strings.HasPrefix(string(line), "hansom-init") {
			found[pid] = true
		}
	}
	return found
}

// create makes a function of a hostile program.
func (f *fixture) create(t *testing.T, c *lambda.Client, name, language string, megabytes, seconds int32) {
	t.Helper()
	l := languages[language]
	_, err := c.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Runtime: l.runtime, Handler: &l.handler, Timeout: &seconds, MemorySize: &megabytes,
		Role: aws.String("arn:aws:iam::000000000000:role/escape"),
		Code: &types.FunctionCode{ZipFile: zipOf(t, map[string]string{l.file: f.programs[language], "shared": "shared by all instances"})},
	})
	if err != nil {
		t.Fatal(name, err)
	}
	active(t, c, name)
}

func active(t *testing.T, c *lambda.Client, name string) {
	t.Helper()
	w := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	})
	if err := w.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute); err != nil {
		t.Fatal(name, err)
	}
}

// attempt has a function make an attempt.
func (f *fixture) attempt(ctx context.Context, function, name string) answer {
	e := f.event
	e.Attempt = name
	return call(ctx, f.own, function, e)
}

func call(ctx context.Context, c *lambda.Client, function string, e event) answer {
	payload, err := json.Marshal(e)
	if err != nil {
		return answer{"no event", err.Error()}
	}
	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: payload, LogType: types.LogTypeTail})
	if err != nil {
		return answer{"not invoked", err.Error()}
	}
	if out.FunctionError != nil {
		var failure struct{ ErrorType, ErrorMessage string }
		if err := json.Unmarshal(out.Payload, &failure); err != nil {
			return answer{"no error", err.Error()}
		}
		log, _ := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
		return answer{failure.ErrorType, failure.ErrorMessage + "\n" + string(log)}
	}
	var a answer
	if err := json.Unmarshal(out.Payload, &a); err != nil {
		return answer{"no answer", string(out.Payload)}
	}
	return a
}

func client(t *testing.T, api string, c hansom.Credentials) *lambda.Client {
	return lambda.New(lambda.Options{
		Region: hansom.DefaultRegion, BaseEndpoint: &api, RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	})
}

// manage sends a request of the operator to the management API.
func (f *fixture) manage(t *testing.T, method, path, body string, result any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.API()+"/_hansom/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	auth.Sign(r, hansomtest.Credentials, hansom.DefaultRegion, "hansom", fmt.Sprintf("%x", sha256.Sum256([]byte(body))), time.Now())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode < 300 {
		err = json.Unmarshal(text, result)
	}
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, text, err)
	}
}

func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := files[name]
		h := &zip.FileHeader{Name: name, Method: zip.Store}
		h.SetMode(0o755)
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
