package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// state is what a version of a function answers with: a marker in its code and one in its configuration.
type state struct{ Code, Env string }

// marked is code that answers with its marker and that of the configuration.
func marked(t testing.TB, marker string) []byte {
	return source(t, python311, "import os\n\ndef handler(event, context):\n    return {'Code': '"+marker+"', 'Env': os.environ['MARKER']}\n")
}

// record is what a client knows of one of its functions.
type record struct {
	name       string
	there      bool    // its creation was acknowledged, its deletion was not
	unsure     bool    // a creation or deletion was not acknowledged
	latest     []state // what $LATEST may be: more than one after an update that was not acknowledged
	versions   map[string]state
	publishing bool // a publication was not acknowledged
}

// customer changes functions of its own and remembers what the server acknowledged.
type customer struct {
	id      int
	random  *rand.Rand
	marker  int
	records []*record // the last one is worked on
	ops     atomic.Int64
}

func (u *customer) mark() string {
	u.marker++
	return fmt.Sprintf("m%d-%d", u.id, u.marker)
}

// work changes functions until the server is gone.
func (u *customer) work(t *testing.T, c *lambda.Client) {
	for {
		u.ops.Add(1)
		err := u.step(t, c)
		switch status, code := refusal(err); {
		case err == nil, status == 409: // an update is under way
		case status == 0:
			return
		default:
			t.Errorf("%v, %s", err, code)
			return
		}
	}
}

// step does one thing and notes the outcome. Before the outcome is known both are possible.
func (u *customer) step(t *testing.T, c *lambda.Client) error {
	ctx := context.Background() // the server's end is what ends a call
	var r *record
	if len(u.records) > 0 {
		r = u.records[len(u.records)-1]
	}
	if r == nil || !r.there {
		r = &record{name: fmt.Sprintf("customer%d-%d", u.id, len(u.records)), unsure: true, versions: map[string]state{}}
		s := state{u.mark(), u.mark()}
		r.latest = []state{s}
		u.records = append(u.records, r)
		_, err := c.CreateFunction(ctx, request(r.name, python311, marked(t, s.Code), func(in *lambda.CreateFunctionInput) {
			in.Environment = &types.Environment{Variables: map[string]string{"MARKER": s.Env}}
		}))
		if err == nil {
			r.there, r.unsure = true, false
		}
		return err
	}
	now := r.latest[0]
	change := func(next state, f func() error) error {
		r.latest = []state{now, next}
		err := f()
		if err == nil {
			r.latest = []state{next}
		} else if status, _ := refusal(err); status != 0 {
			r.latest = []state{now}
		}
		return err
	}
	switch n := u.random.IntN(20); {
	case n < 6:
		next := state{u.mark(), now.Env}
		return change(next, func() error {
			_, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &r.name, ZipFile: marked(t, next.Code)})
			return err
		})
	case n < 10:
		next := state{now.Code, u.mark()}
		return change(next, func() error {
			_, err := c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: &r.name,
				Environment: &types.Environment{Variables: map[string]string{"MARKER": next.Env}}})
			return err
		})
	case n < 13:
		r.publishing = true
		out, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &r.name})
		if err == nil {
			r.versions[*out.Version] = now
		}
		if status, _ := refusal(err); err == nil || status != 0 {
			r.publishing = false
		}
		return err
	case n < 19:
		return r.check(ctx, t, c, "")
	}
	r.unsure = true
	_, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &r.name})
	if err == nil {
		r.there, r.unsure = false, false
	} else if status, _ := refusal(err); status != 0 {
		r.unsure = false
	}
	return err
}

// check invokes a version, "" for $LATEST, and compares its answer with what it may be. What it is, is known then.
func (r *record) check(ctx context.Context, t *testing.T, c *lambda.Client, version string) error {
	name, may := r.name, r.latest
	if version != "" {
		name, may = r.name+":"+version, []state{r.versions[version]}
	}
	a, err := invoke(ctx, c, name, "{}")
	if err != nil {
		return err
	}
	var is state
	if err := json.Unmarshal([]byte(a.payload), &is); err != nil || a.errorType != "" || !slices.Contains(may, is) {
		t.Errorf("%s answers %s, want one of %v; %v\n%s", name, a.payload, may, err, a.log)
		return nil
	}
	if version == "" {
		r.latest = []state{is}
	}
	return nil
}

// verify compares a function after a restart with what was acknowledged.
func (r *record) verify(t *testing.T, c *lambda.Client) {
	_, err := c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &r.name})
	status, _ := refusal(err)
	if err != nil && status != 404 || err == nil && !r.there && !r.unsure || err != nil && r.there && !r.unsure {
		t.Errorf("%s: its creation was acknowledged: %v, and it may be there or not: %v; after the restart: %v", r.name, r.there, r.unsure, err)
		return
	}
	r.there, r.unsure = err == nil, false
	if !r.there {
		return
	}
	waitActive(t, c, r.name)
	waitUpdated(t, c, r.name)
	if err := r.check(t.Context(), t, c, ""); err != nil {
		t.Error(r.name, err)
	}
	found := map[string]bool{}
	list := lambda.NewListVersionsByFunctionPaginator(c, &lambda.ListVersionsByFunctionInput{FunctionName: &r.name, MaxItems: aws.Int32(5)})
	for list.HasMorePages() {
		page, err := list.NextPage(t.Context())
		if err != nil {
			t.Error(r.name, err)
			return
		}
		for _, v := range page.Versions {
			found[*v.Version] = true
			if _, known := r.versions[*v.Version]; !known && *v.Version != "$LATEST" {
				if !r.publishing {
					t.Errorf("%s has a version %s that nobody has published", r.name, *v.Version)
				}
				r.publishing = false
				r.versions[*v.Version] = r.latest[0]
			}
		}
	}
	r.publishing = false
	for v := range r.versions {
		if !found[v] {
			t.Errorf("the version %s of %s was acknowledged, but %v are there", v, r.name, found)
		} else if err := r.check(t.Context(), t, c, v); err != nil {
			t.Error(r.name, v, err)
		}
	}
}

// A server is killed 20 times while four clients create, update, publish, invoke and delete. What was acknowledged is there
// after each start, what was not is there as a whole or not at all, and nothing of the dead server is left on the host. A server
// beside it, with the same run directory, does not notice.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	const kills, clients = 20, 4
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	runDir, data := t.TempDir(), filepath.Join(t.TempDir(), "data")

	beside := serve(t, filepath.Join(t.TempDir(), "beside"), runDir)
	besideID := serverIDs(t, runDir)
	besideClient := client(t, beside.api, rootKey)
	create(t, besideClient, "counter", python311, source(t, python311, "count = 0\n\ndef handler(event, context):\n    global count\n    count += 1\n    return count\n"))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(10 * time.Millisecond) // it shall not take the whole machine
		defer tick.Stop()
		for want := 1; ; want++ {
			if a, err := invoke(t.Context(), besideClient, "counter", "{}"); err != nil || a.payload != fmt.Sprint(want) {
				t.Errorf("call %d of the server beside: %v, %+v", want, err, a)
				return
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()

	var customers []*customer
	for i := range clients {
		customers = append(customers, &customer{id: i, random: rand.New(rand.NewPCG(seed, uint64(i)+1))})
	}
	each := func(f func(u *customer)) {
		var wg sync.WaitGroup
		for _, u := range customers {
			wg.Go(func() { f(u) })
		}
		wg.Wait()
	}
	var dead []string
	for round := 0; ; round++ {
		p := serve(t, data, runDir)
		ids := serverIDs(t, runDir)
		if want := len(besideID) + 1; len(ids) != want {
			t.Errorf("round %d: %d servers have a directory, want %d: %v", round, len(ids), want, ids)
		}
		if left := leftovers(t, dead); len(left) > 0 {
			t.Errorf("round %d: of dead servers there are still\n%s", round, strings.Join(left, "\n"))
		}
		c := client(t, p.api, rootKey)
		each(func(u *customer) {
			records := u.records
			if round < kills { // the older ones are looked at once, at the end
				records = records[max(0, len(records)-2):]
			}
			for _, r := range records {
				r.verify(t, c)
			}
		})
		if round == kills || t.Failed() {
			break
		}
		go func() {
			<-time.After(time.Duration(random.Int64N(int64(400 * time.Millisecond)))) // a random moment
			p.kill()
		}()
		each(func(u *customer) { u.work(t, c) })
		<-p.ended
		dead = slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(besideID, id) })
	}
	close(stop)
	<-stopped
	var ops, functions, versions int64
	for _, u := range customers {
		ops += u.ops.Load()
		for _, r := range u.records {
			functions++
			versions += int64(len(r.versions))
		}
	}
	t.Logf("%d kills in %d operations on %d functions with %d versions", kills, ops, functions, versions)
	if ops < 2*kills*clients {
		t.Errorf("only %d operations: the server was killed before it could do anything", ops)
	}
}

const sleeper = "import time\n\ndef handler(event, context):\n    time.sleep(event)\n    return 'slept'\n"

// sleeping starts a server that runs an invocation of so many seconds.
func sleeping(t *testing.T, runDir, seconds string) (p *program, result chan answer, failed chan error) {
	p = serve(t, filepath.Join(t.TempDir(), "data"), runDir)
	c := client(t, p.api, rootKey)
	create(t, c, "sleeper", python311, source(t, python311, sleeper))
	result, failed = make(chan answer, 1), make(chan error, 1)
	go func() {
		a, err := invoke(t.Context(), c, "sleeper", seconds)
		if err != nil {
			failed <- err
			return
		}
		result <- a
	}()
	eventually(t, "the function runs", func() bool { return busy(t, p.api) == 1 })
	if len(leftovers(t, serverIDs(t, runDir))) == 0 {
		t.Error("the process of the function is not recognised: what is left of it would not be either")
	}
	return p, result, failed
}

// refuses tells whether nobody listens at a URL's address.
func refuses(url string) bool {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err == nil {
		conn.Close()
	}
	return err != nil
}

// SIGTERM: no new calls, the running one ends with its answer, and nothing is left.
func TestTerminate(t *testing.T) {
	runDir := t.TempDir()
	p, result, failed := sleeping(t, runDir, "2")
	ids := serverIDs(t, runDir)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both listeners are closed", func() bool { return refuses(p.api) && refuses(p.edge) })
	select {
	case a := <-result:
		if a.payload != `"slept"` || !strings.Contains(a.log, "REPORT") {
			t.Errorf("answer %+v", a)
		}
	case err := <-failed:
		t.Error(err)
	}
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := leftovers(t, ids); len(left) > 0 {
		t.Error("there are still\n" + strings.Join(left, "\n"))
	}
	if left := serverIDs(t, runDir); len(left) > 0 {
		t.Errorf("the run directory still has %v", left)
	}
}

// A second signal ends the server at once, whatever runs; the next one cleans up.
func TestTerminateAtOnce(t *testing.T) {
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(second.String(), func(t *testing.T) {
			runDir := t.TempDir()
			p, result, failed := sleeping(t, runDir, "50")
			ids := serverIDs(t, runDir)
			for _, s := range []syscall.Signal{syscall.SIGTERM, second} {
				if err := p.cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the listeners are closed", func() bool { return refuses(p.api) })
			}
			<-p.ended
			select {
			case <-failed:
			case a := <-result:
				t.Errorf("the invocation was answered: %+v", a)
			}
			if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != second {
				t.Errorf("it ended with %v", p.cmd.ProcessState)
			}
			serve(t, filepath.Join(t.TempDir(), "other"), runDir)
			if left := leftovers(t, ids); len(left) > 0 {
				t.Error("after the next start there are still\n" + strings.Join(left, "\n"))
			}
		})
	}
}
