package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/blob"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/function/paging"
)

// A server that is killed while functions are pending brings them to an end after the next start.
func TestResume(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx := context.Background()
		h := newHost(t)
		d := dbtest.Open(t, url)
		first := h.open(t, d)
		create(t, first, simple(t, "new"))
		in := simple(t, "published")
		in.Publish = true
		create(t, first, in)
		if f, err := first.Get(ctx, project, "published", "1"); err != nil || f.State != StatePending {
			t.Fatalf("without Run the version is %s (%v)", f.State, err)
		}

		// The next start: nothing is in memory, and not even the unpacked code is there.
		if err := os.RemoveAll(filepath.Join(h.dir, "code")); err != nil {
			t.Fatal(err)
		}
		d = dbtest.Open(t, url)
		changed := changes(d)
		second := h.open(t, d)
		run(t, second)
		for _, name := range []string{"new", "published"} {
			f := settle(t, second, changed, project, name)
			if f.State != StateActive || f.LastUpdateStatus != UpdateSuccessful {
				t.Errorf("%s is %s, %s", name, f.State, f.LastUpdateStatus)
			}
			dir, _, release, err := second.Code(ctx, &f.Version)
			if err != nil || read(t, dir, "index.py") == "" {
				t.Fatalf("the code of %s: %v", name, err)
			}
			release()
		}
		if f, err := second.Get(ctx, project, "published", "1"); err != nil || f.State != StateActive {
			t.Errorf("the version is %s (%v)", f.State, err)
		}
	})
}

// failingBlobs breaks off writing while it has an error.
type failingBlobs struct {
	blob.Store
	err error
}

func (f *failingBlobs) Put(ctx context.Context, key string, r io.Reader) (int64, error) {
	if f.err == nil {
		return f.Store.Put(ctx, key, r)
	}
	io.CopyN(io.Discard, r, 10)
	return 0, f.err
}

// Whatever step of Create or UpdateCode fails, the function is as it was before, and the same call succeeds afterwards.
func TestFailedSteps(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		h := newHost(t)
		changed := changes(d)
		full := errors.New("the disk is full")
		newCode := UpdateCodeInput{Code: Source{Zip: archive(t, "index.py", "new")}}

		blobs := &failingBlobs{Store: h.blobs, err: full}
		s := host{h.dir, blobs}.open(t, d)
		run(t, s)
		if _, err := s.Create(ctx, project, simple(t, "f")); !errors.Is(err, full) {
			t.Fatalf("Create: %v", err)
		}
		blobs.err = nil
		if list, _, err := s.List(ctx, project, false, Page{}); err != nil || len(list) != 0 {
			t.Fatalf("after a failed Create there are %d functions (%v)", len(list), err)
		}
		// The transaction fails: the package is stored, the function is not there.
		broken := errors.New("no more ids")
		s.newID = func() string { panic(broken) }
		func() {
			defer func() {
				if recover() != broken {
					t.Error("Create did not come to the transaction")
				}
			}()
			s.Create(ctx, project, simple(t, "f"))
		}()
		s.newID = sequence()
		if _, err := s.Get(ctx, project, "f", ""); hansom.KindOf(err) != hansom.NotFound {
			t.Fatalf("after a transaction that broke off: %v", err)
		}
		created := create(t, s, simple(t, "f"))
		before := settle(t, s, changed, project, "f")

		blobs.err = full
		if _, err := s.UpdateCode(ctx, project, "f", newCode); !errors.Is(err, full) {
			t.Fatalf("UpdateCode: %v", err)
		}
		blobs.err = nil
		after, err := s.Get(ctx, project, "f", "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("a failed update changed (-before +after):\n%s", diff)
		}
		target, err := s.Resolve(ctx, project, "f", "")
		if err != nil || target.Version.CodeSHA256 != created.CodeSHA256 {
			t.Errorf("a failed update is resolved: %v", err)
		}
		if _, err := s.UpdateCode(ctx, project, "f", newCode); err != nil {
			t.Error(err)
		}
		if f := settle(t, s, changed, project, "f"); f.CodeSHA256 != digestOf(newCode.Code.Zip) {
			t.Error("the update after a failed one did not come through")
		}
	})
}

func sequence() func() string {
	var mu sync.Mutex
	n := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
	}
}

// A package that was damaged in the store makes creation fail in the open; the function can be mended by an update.
func TestDamagedPackage(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	ctx := context.Background()
	h := newHost(t)
	s := h.open(t, d)
	changed := changes(d)
	f := create(t, s, simple(t, "f"))
	if _, err := h.blobs.Put(ctx, artifact.Key(project, f.CodeSHA256), strings.NewReader("rot")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(h.unpacked(f.CodeSHA256)); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	f = settle(t, s, changed, project, "f")
	if f.State != StateFailed || f.StateReasonCode != reasonCodeZip || !strings.Contains(f.StateReason, "upload the code again") {
		t.Errorf("state %s, %s: %s", f.State, f.StateReasonCode, f.StateReason)
	}
	_, _, _, err := s.Code(ctx, &f.Version)
	wantError(t, "Code", err, hansom.Invalid, "is damaged")
	if _, err := s.UpdateCode(ctx, project, "f", UpdateCodeInput{Code: Source{Zip: archive(t, "index.py", "mended")}}); err != nil {
		t.Fatal(err)
	}
	if f = settle(t, s, changed, project, "f"); f.State != StateActive || f.StateReason != "" || f.LastUpdateStatus != UpdateSuccessful {
		t.Errorf("after the update: %s, %s, %s", f.State, f.StateReason, f.LastUpdateStatus)
	}
}

func TestCode(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	h := newHost(t)
	f := create(t, h.open(t, d), simple(t, "f"))
	if err := os.RemoveAll(h.unpacked(f.CodeSHA256)); err != nil {
		t.Fatal(err)
	}
	var opened counter
	s := host{h.dir, &countingBlobs{Store: h.blobs, n: &opened}}.open(t, d)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			dir, layers, release, err := s.Code(context.Background(), &f.Version)
			if err != nil || dir != h.unpacked(f.CodeSHA256) || layers != "" {
				t.Errorf("Code: %q, %q, %v", dir, layers, err)
				return
			}
			release()
		})
	}
	wg.Wait()
	if opened.n != 1 {
		t.Errorf("the package was opened %d times", opened.n)
	}
	for _, p := range []string{filepath.Join(h.dir, "code"), h.unpacked(f.CodeSHA256), filepath.Join(h.unpacked(f.CodeSHA256), "index.py")} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]os.FileMode{true: 0o755, false: 0o644}[info.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", p, info.Mode().Perm())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir, "code", ".tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, _, err := s.Code(ctx, &hansom.Version{Project: project, CodeSHA256: strings.Repeat("0", 64)}); !errors.Is(err, context.Canceled) && hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("a cancelled Code: %v", err)
	}
}

type counter struct {
	sync.Mutex
	n int
}

// countingBlobs counts and hides that what it opens can be read at any offset.
type countingBlobs struct {
	blob.Store
	n *counter
}

func (c *countingBlobs) Open(ctx context.Context, key string) (io.ReadSeekCloser, int64, error) {
	c.n.Lock()
	c.n.n++
	c.n.Unlock()
	r, size, err := c.Store.Open(ctx, key)
	return struct{ io.ReadSeekCloser }{r}, size, err
}

// Two projects use the same names, and neither sees or changes what is the other's.
func TestProjects(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := running(t, d)
		changed := changes(d)
		const other = "222222222222"
		for _, p := range []string{project, other} {
			in := simple(t, "f")
			in.Code.Zip = archive(t, "index.py", p)
			in.Description, in.Publish = p, true
			if _, err := s.Create(ctx, p, in); err != nil {
				t.Fatal(err)
			}
			settle(t, s, changed, p, "f")
			if _, err := s.CreateAlias(ctx, p, "f", AliasInput{Name: "a", Version: "1", Description: p}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.CreateURL(ctx, p, "f", "a", URLInput{AuthType: hansom.URLAuthNone}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.AddPermission(ctx, p, "f", "", PermissionInput{StatementID: p, Action: "lambda:InvokeFunction", Principal: "*"}); err != nil {
				t.Fatal(err)
			}
			if err := s.PutConcurrency(ctx, p, "f", 900); err != nil { // each has a limit of its own
				t.Fatal(err)
			}
		}
		// A digest that only the other project has uploaded cannot be used.
		_, err := s.UpdateCode(ctx, project, "f", UpdateCodeInput{Code: Source{SHA256: digestOf(archive(t, "index.py", other))}})
		wantError(t, "code of another project", err, hansom.NotFound, "has not been uploaded")

		if err := s.Delete(ctx, project, "f", ""); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"Get":       second(s.Get(ctx, project, "f", "")),
			"GetAlias":  second(s.GetAlias(ctx, project, "f", "a")),
			"GetURL":    second(s.GetURL(ctx, project, "f", "a")),
			"Resolve":   second(s.Resolve(ctx, project, "f", "a")),
			"GetPolicy": func() error { _, _, err := s.GetPolicy(ctx, project, "f", ""); return err }(),
		} {
			if hansom.KindOf(err) != hansom.NotFound {
				t.Errorf("%s of the deleted function: %v", what, err)
			}
		}
		f, err := s.Get(ctx, other, "f", "a")
		if err != nil || f.Description != other || f.Reserved != 900 {
			t.Errorf("the other project's function: %+v, %v", f, err)
		}
		dir, _, release, err := s.Code(ctx, &f.Version)
		if err != nil || read(t, dir, "index.py") != other {
			t.Fatalf("the other project's code: %v", err)
		}
		release()
		if policy, _, err := s.GetPolicy(ctx, other, "f", ""); err != nil || strings.Contains(policy, project) {
			t.Errorf("the other project's policy: %s, %v", policy, err)
		}
		if a, err := s.GetAlias(ctx, other, "f", "a"); err != nil || a.Description != other {
			t.Errorf("the other project's alias: %+v, %v", a, err)
		}
		target, err := s.Resolve(ctx, other, "f", "a")
		if err != nil || target.Version.Project != other || target.ARN != "arn:aws:lambda:us-east-1:222222222222:function:f:a" {
			t.Errorf("the other project's target: %+v, %v", target, err)
		}
		for _, name := range []string{"", "f"} {
			if list, err := s.URLs(ctx, other, name); err != nil || len(list) != 1 || list[0].Qualifier != "a" || list[0].Project != other {
				t.Errorf("URLs of %q: %+v, %v", name, list, err)
			}
		}
		if list, err := s.URLs(ctx, other, "nope"); err != nil || len(list) != 0 {
			t.Errorf("URLs of no function: %+v, %v", list, err)
		}
		u, err := s.GetURL(ctx, other, "f", "a")
		if err != nil {
			t.Fatal(err)
		}
		if found, ok := s.URL(u.ID); !ok || found.Project != other || found.Qualifier != "a" {
			t.Errorf("the other project's URL: %+v", found)
		}
		list, _, err := s.List(ctx, other, true, Page{})
		if err != nil || len(list) != 2 {
			t.Errorf("the other project lists %d versions (%v)", len(list), err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// Revisions are retired when no version has them any more, and not before.
func TestRetire(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	ctx := context.Background()
	s := running(t, d)
	changed := changes(d)
	var retired []string
	s.OnRetire(func(p, name, revision string) { retired = append(retired, p+"/"+name+"/"+revision) })
	revision := func(qualifier string) string {
		t.Helper()
		target, err := s.Resolve(ctx, project, "f", qualifier)
		if err != nil {
			t.Fatal(err)
		}
		return project + "/f/" + target.Version.Revision
	}
	expect := func(what string, want ...string) {
		t.Helper()
		slices.Sort(retired)
		slices.Sort(want)
		if !slices.Equal(retired, want) {
			t.Errorf("%s retired %q, want %q", what, retired, want)
		}
		retired = nil
	}
	create(t, s, simple(t, "f"))
	settle(t, s, changed, project, "f")
	if _, err := s.Publish(ctx, project, "f", PublishInput{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateURL(ctx, project, "f", "", URLInput{AuthType: hansom.URLAuthNone}); err != nil {
		t.Fatal(err)
	}
	if revision("") == revision("1") {
		t.Error("$LATEST and version 1 share a revision: they differ in their environment")
	}
	expect("creating, publishing and activating")
	latest, first := revision(""), revision("1")
	if _, err := s.UpdateConfiguration(ctx, project, "f", UpdateConfigurationInput{Environment: map[string]string{"A": "1"}}); err != nil {
		t.Fatal(err)
	}
	expect("an update", latest)
	settle(t, s, changed, project, "f")
	if err := s.PutConcurrency(ctx, project, "f", 5); err != nil {
		t.Fatal(err)
	}
	expect("the end of an update, and a reservation")
	if err := s.Delete(ctx, project, "f", "1"); err != nil {
		t.Fatal(err)
	}
	expect("deleting a version", first)
	latest = revision("")
	u, err := s.GetURL(ctx, project, "f", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, project, "f", ""); err != nil {
		t.Fatal(err)
	}
	expect("deleting the function", latest)
	if _, ok := s.URL(u.ID); ok {
		t.Error("the URL of a deleted function still answers")
	}
}

// What another process writes is seen with the next change, as a gap in the revisions.
func TestOtherProcess(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx := context.Background()
		h := newHost(t)
		here, there := h.open(t, dbtest.Open(t, url)), h.open(t, dbtest.Open(t, url))
		create(t, there, simple(t, "theirs"))
		create(t, here, simple(t, "gone"))
		if _, err := here.Resolve(ctx, project, "theirs", ""); err != nil {
			t.Errorf("after a gap: %v", err)
		}
		if err := there.Delete(ctx, project, "gone", ""); err != nil {
			t.Fatal(err)
		}
		var retired []string
		here.OnRetire(func(_, name, _ string) { retired = append(retired, name) })
		create(t, here, simple(t, "ours"))
		if _, err := here.Resolve(ctx, project, "gone", ""); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("after a gap the deleted function is there: %v", err)
		}
		if !slices.Equal(retired, []string{"gone"}) {
			t.Errorf("retired %q", retired)
		}
	})
}

func TestConcurrentWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := running(t, d)
		changed := changes(d)
		in := simple(t, "f")
		var won counter
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := s.Create(ctx, project, in)
				if err == nil {
					won.Lock()
					won.n++
					won.Unlock()
				} else if hansom.KindOf(err) != hansom.Conflict {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.n != 1 {
			t.Errorf("%d of 8 calls created the function", won.n)
		}
		f := settle(t, s, changed, project, "f")
		// Of updates with the same RevisionId one wins.
		won.n = 0
		for i := range 8 {
			wg.Go(func() {
				memory := 128 + i + 1
				_, err := s.UpdateConfiguration(ctx, project, "f", UpdateConfigurationInput{Memory: &memory, RevisionID: f.RevisionID})
				if err == nil {
					won.Lock()
					won.n++
					won.Unlock()
				} else if k := hansom.KindOf(err); k != hansom.Precondition {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.n != 1 {
			t.Errorf("%d of 8 conditional updates won", won.n)
		}
		for i := range 4 {
			if _, err := s.Create(ctx, project, simple(t, fmt.Sprint("r", i))); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { s.PutConcurrency(ctx, project, fmt.Sprint("r", i), 400) })
		}
		wg.Wait()
		if a, err := s.AccountSettings(ctx, project); err != nil || a.UnreservedConcurrency != 200 {
			t.Errorf("unreserved: %d (%v); of four reservations of 400 two fit", a.UnreservedConcurrency, err)
		}
	})
}

func TestWeightedAlias(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	ctx := context.Background()
	s := running(t, d)
	changed := changes(d)
	in := simple(t, "f")
	in.Publish = true
	create(t, s, in)
	settle(t, s, changed, project, "f")
	if _, err := s.UpdateCode(ctx, project, "f", UpdateCodeInput{Code: Source{Zip: archive(t, "index.py", "2")}, Publish: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateAlias(ctx, project, "f", AliasInput{Name: "a", Version: "1", Weights: map[string]float64{"2": 0.3}}); err != nil {
		t.Fatal(err)
	}
	for draw, want := range map[float64]string{0: "2", 0.299: "2", 0.3: "1", 0.999: "1"} {
		s.draw = func() float64 { return draw }
		target, err := s.Resolve(ctx, project, "f", "a")
		if err != nil || target.Version.Number != want || !strings.HasSuffix(target.ARN, ":f:a") {
			t.Errorf("a draw of %v went to %s at %s (%v), want %s", draw, target.Version.Number, target.ARN, err, want)
		}
	}
}

// Resolve is on the path of every call.
func TestResolveAllocations(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	s := newHost(t).open(t, d)
	in := simple(t, "f")
	in.Publish = true
	create(t, s, in)
	u, err := s.CreateURL(context.Background(), project, "f", "", URLInput{AuthType: hansom.URLAuthNone})
	if err != nil {
		t.Fatal(err)
	}
	ctx, name := context.Background(), strings.Clone("f")
	for _, qualifier := range []string{"", "1"} {
		if n := testing.AllocsPerRun(100, func() { s.Resolve(ctx, project, name, qualifier) }); n > 0 {
			t.Errorf("Resolve of qualifier %q allocates %v times", qualifier, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { s.URL(u.ID) }); n > 0 {
		t.Errorf("URL allocates %v times", n)
	}
}

// A deployed function that nobody calls costs little.
func TestMemory(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	h := newHost(t)
	s := h.open(t, d)
	f := create(t, s, simple(t, "first"))
	const n = 1000
	before := heap()
	err := d.Write(context.Background(), func(tx *db.Tx) error {
		for i := range n {
			v := f.Version
			v.Function, v.App = fmt.Sprintf("some-app-function-%04d", i), "some-app"
			v.Environment = map[string]string{"GREETING": "hello", "TABLE": "messages"}
			if _, err := s.Deploy(context.Background(), tx, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.takeWaiting() // as Run would have done
	each := (heap() - before) / n
	t.Logf("%d bytes for each function", each)
	if each > 2048 {
		t.Errorf("a function takes %d bytes of memory", each)
	}
	if _, err := s.Resolve(context.Background(), project, "some-app-function-0999", ""); err != nil {
		t.Error(err)
	}
}

func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestDeploy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		h := newHost(t)
		s := h.open(t, d)
		run(t, s)
		changed := changes(d)
		zip := archive(t, "index.py", "app")
		v := hansom.Version{Project: project, Function: "app-api", App: "app", Runtime: "python3.12", Handler: "index.handler",
			CodeSHA256: digestOf(zip), Environment: map[string]string{"A": "1"}}
		deploy := func(v hansom.Version) (changed bool, err error) {
			err = d.Write(ctx, func(tx *db.Tx) error {
				var err error
				changed, err = s.Deploy(ctx, tx, v)
				return err
			})
			return changed, err
		}
		_, err := deploy(v)
		wantError(t, "a package that was not uploaded", err, hansom.NotFound, "upload it first")
		if _, err := s.Prepare(ctx, project, v.CodeSHA256); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("Prepare: %v", err)
		}
		if _, err := h.blobs.Put(ctx, artifact.Key(project, v.CodeSHA256), strings.NewReader(string(zip))); err != nil {
			t.Fatal(err)
		}
		if size, err := s.Prepare(ctx, project, v.CodeSHA256); err != nil || size != int64(len(zip)) {
			t.Errorf("Prepare: %d, %v", size, err)
		}
		for i, want := range []bool{true, false} {
			if got, err := deploy(v); err != nil || got != want {
				t.Errorf("deployment %d: changed %v, %v", i+1, got, err)
			}
			settle(t, s, changed, project, v.Function)
		}
		owned, err := s.Owned(ctx, s.db.Read(), project, "app")
		if err != nil || len(owned) != 1 || owned[0].Function != "app-api" || owned[0].Timeout != DefaultTimeout || owned[0].App != "app" {
			t.Errorf("owned: %+v, %v", owned, err)
		}
		v.Environment = map[string]string{"A": "2"}
		if got, err := deploy(v); err != nil || !got {
			t.Errorf("another environment: changed %v, %v", got, err)
		}
		for _, v.DeadLetter = range []string{"arn:aws:sqs:us-east-1:" + project + ":dead", ""} {
			got, err := deploy(v)
			if err != nil || !got {
				t.Errorf("dead letters to %q: changed %v, %v", v.DeadLetter, got, err)
			}
			if owned, err := s.Owned(ctx, s.db.Read(), project, "app"); err != nil || owned[0].DeadLetter != v.DeadLetter {
				t.Errorf("dead letters to %q: %+v, %v", v.DeadLetter, owned, err)
			}
		}
		// All or nothing: what a transaction did before it failed is not there.
		failure := errors.New("the second function is refused")
		err = d.Write(ctx, func(tx *db.Tx) error {
			again := v
			again.Function = "app-other"
			if _, err := s.Deploy(ctx, tx, again); err != nil {
				return err
			}
			if err := s.Undeploy(ctx, tx, project, "app-api"); err != nil {
				return err
			}
			return failure
		})
		if !errors.Is(err, failure) {
			t.Fatal(err)
		}
		if _, err := s.Resolve(ctx, project, "app-other", ""); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("a function of a failed deployment: %v", err)
		}
		target, err := s.Resolve(ctx, project, "app-api", "")
		if err != nil || target.Version.Environment["A"] != "2" {
			t.Errorf("after a failed deployment: %+v, %v", target.Version, err)
		}
		// A name that belongs to somebody else is not taken over.
		create(t, s, simple(t, "app-mine"))
		taken := v
		taken.Function = "app-mine"
		_, err = deploy(taken)
		wantError(t, "a function made through the API", err, hansom.Conflict, "made through the Lambda API")
		taken.Function, taken.App = "app-api", "other"
		_, err = deploy(taken)
		wantError(t, "a function of another app", err, hansom.Conflict, "belongs to app app")
		bad := v
		bad.Memory = 1
		_, err = deploy(bad)
		wantError(t, "bad settings", err, hansom.Invalid, "1 MB")

		for range 2 { // the second time there is nothing to do
			if err := d.Write(ctx, func(tx *db.Tx) error { return s.Undeploy(ctx, tx, project, "app-api") }); err != nil {
				t.Fatal(err)
			}
		}
		if owned, err := s.Owned(ctx, s.db.Read(), project, "app"); err != nil || len(owned) != 0 {
			t.Errorf("owned: %+v, %v", owned, err)
		}
	})
}

func TestArchitecture(t *testing.T) {
	s := newHost(t).open(t, dbtest.Open(t, dbtest.SQLite(t)))
	for _, arch := range []string{"x86_64", "arm64", ""} {
		in := simple(t, "on-"+arch)
		in.Architecture = arch
		f, err := s.Create(t.Context(), project, in)
		if fits := arch == "" || arch == Architecture(); fits != (err == nil) || fits && f.Architecture != Architecture() {
			t.Errorf("%q: %s, %v", arch, f.Architecture, err)
		}
	}
}

func TestEnvironmentLimit(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	s := newHost(t).open(t, d)
	in := simple(t, "f")
	in.Environment = map[string]string{"LARGE_VAR": strings.Repeat("x", hansom.MaxEnvironment-len(`{"LARGE_VAR":""}`)+1)}
	_, err := s.Create(context.Background(), project, in)
	wantError(t, "4 KB and one byte", err, hansom.Invalid, `exceeded the 4KB limit. String measured: {"LARGE_VAR":"xxx`)
	in.Environment["LARGE_VAR"] = in.Environment["LARGE_VAR"][1:]
	create(t, s, in)
}

func TestPolicyLimit(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	s := newHost(t).open(t, d)
	create(t, s, simple(t, "f"))
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		_, err = s.AddPermission(context.Background(), project, "f", "", PermissionInput{StatementID: fmt.Sprint("s", i), Action: "lambda:InvokeFunction",
			Principal: "s3.amazonaws.com", SourceARN: "arn:aws:s3:::" + strings.Repeat("b", 500)})
	}
	var e *hansom.Error
	if !errors.As(err, &e) || e.Code != "PolicyLengthExceededException" {
		t.Errorf("got %v", err)
	}
	if policy, _, err := s.GetPolicy(context.Background(), project, "f", ""); err != nil || len(policy) > 20<<10 {
		t.Errorf("the policy has %d bytes (%v)", len(policy), err)
	}
}

func TestPages(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	s := newHost(t).open(t, d)
	for i := range paging.Most + 5 {
		create(t, s, simple(t, fmt.Sprintf("f%03d", i)))
	}
	var names []string
	page := Page{Max: 10_000}
	for {
		list, next, err := s.List(context.Background(), project, false, page)
		if err != nil || len(list) > paging.Most {
			t.Fatalf("a page of %d: %v", len(list), err)
		}
		for _, f := range list {
			names = append(names, f.Version.Function)
		}
		if page.Marker = next; next == "" {
			break
		}
	}
	if len(names) != paging.Most+5 || !slices.IsSorted(names) {
		t.Errorf("listed %d: %q", len(names), names)
	}
}

func FuzzMarker(f *testing.F) {
	f.Add(paging.Marker(versionMarker{"f", 3}))
	f.Add(paging.Marker("alias"))
	f.Add("%")
	f.Add("bnVsbA")
	f.Fuzz(func(t *testing.T, m string) {
		for _, after := range []any{&versionMarker{}, new(string)} {
			limit, err := Page{Marker: m}.Open(after)
			if err != nil && hansom.KindOf(err) != hansom.Invalid || err == nil && limit != paging.Most {
				t.Errorf("%q: %d, %v", m, limit, err)
			}
		}
	})
}

func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"*", "https://a.example", "http://localhost:3000", "https://a/b", "null", "https://[::1]:8", "//a", "a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if validOrigin(s) && s != "*" && (strings.ContainsAny(s, " \r\n\t?#\"") || strings.Count(s, "/") != 2) {
			t.Errorf("%q is taken for an origin", s)
		}
	})
}

// Settings as older versions stored them are read, and stored again as they were: what was published with them is still the same.
func TestStoredSettings(t *testing.T) {
	const old = `{"description":"d","runtime":"nodejs22.x","handler":"index.handler","role":"r","memory":128,"ephemeral":512,"timeout":3000000000,` +
		`"environment":{"A":"1"},"architecture":"x86_64","tracingMode":"PassThrough","logFormat":"Text"}`
	var set settings
	if err := json.Unmarshal([]byte(old), &set); err != nil {
		t.Fatal(err)
	}
	var r record
	r.apply(set)
	if text, err := json.Marshal(r.settings()); err != nil || string(text) != old || r.Logging != (hansom.Logging{Format: LogText}) {
		t.Errorf("%v, %+v\n%s\n%s", err, r.Logging, text, old)
	}
}
