package artifact

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/blob"
	"github.com/hansomcloud/hansom/internal/blob/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const project = "111111111111"

// clock is set forward by hand.
type clock struct {
	sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.Lock()
	defer c.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) forward(d time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.ahead += d
}

type fixture struct {
	*Store
	t     testing.TB
	dir   string
	blobs blob.Store
	clock *clock
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	dir := t.TempDir()
	blobs, err := disk.New(filepath.Join(dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, dir: dir, blobs: blobs, clock: &clock{}}
	f.reopen()
	return f
}

// reopen is a restart of the server.
func (f *fixture) reopen() {
	f.t.Helper()
	cfg := DefaultConfig(f.dir)
	cfg.Now = f.clock.now
	var err error
	if f.Store, err = New(cfg, f.blobs, nil); err != nil {
		f.t.Fatal(err)
	}
}

// pack makes a zip; a name that ends in "@" is a symbolic link.
func pack(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &zip.FileHeader{Name: strings.TrimSuffix(files[i], "@"), Method: zip.Deflate}
		h.SetMode(0o644)
		if strings.HasSuffix(files[i], "@") {
			h.SetMode(fs.ModeSymlink | 0o777)
		}
		out, err := w.CreateHeader(h)
		if err == nil {
			_, err = out.Write([]byte(files[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// put stores a package and returns it as a layer.
func (f *fixture) put(files ...string) hansom.Layer {
	f.t.Helper()
	zip := pack(f.t, files...)
	if err := f.Put(context.Background(), project, zip, true); err != nil {
		f.t.Fatal(err)
	}
	return hansom.Layer{ARN: hansom.LayerARN("us-east-1", project, "l", 1), SHA256: Digest(zip), Size: int64(len(zip))}
}

// tree shows what is below dir: links with their target, files with their content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		var content []byte
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(p)
			out[name+"@"] = target
			return err
		}
		content, err = os.ReadFile(p)
		out[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLayers(t *testing.T) {
	f := newFixture(t)
	a := f.put("python/a.py", "a", "both", "a", "dir/x", "a", "file", "a", "link@", "dir", "bin/run", "a")
	b := f.put("python/b.py", "b", "both", "b", "dir@", "python", "file/y", "b", "link/z", "b")
	both := []hansom.Layer{a, b}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, release, err := f.Layers(context.Background(), both)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			want := map[string]string{"python/a.py": "a", "python/b.py": "b", "both": "b", "dir@": "python", "file/y": "b", "link/z": "b", "bin/run": "a"}
			if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
	wg.Wait()
	// The other way round is another directory, and laying one over the other has changed neither.
	dir, release, err := f.Layers(context.Background(), []hansom.Layer{b, a})
	if err != nil {
		t.Fatal(err)
	}
	release()
	want := map[string]string{"python/a.py": "a", "python/b.py": "b", "both": "a", "dir/x": "a", "file": "a", "link@": "dir", "bin/run": "a"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(filepath.Join(dir, "python"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if dir, release, err = f.Layers(context.Background(), []hansom.Layer{a}); err != nil || dir != f.path(a.SHA256) {
		t.Errorf("one layer alone is at %q, %v", dir, err)
	}
	release()
	if dir, _, err := f.Layers(context.Background(), nil); err != nil || dir != "" {
		t.Errorf("no layer is at %q, %v", dir, err)
	}
	gone := hansom.Layer{ARN: a.ARN, SHA256: strings.Repeat("0", 64)}
	if _, _, err := f.Layers(context.Background(), []hansom.Layer{a, gone}); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("a layer that is not stored: %v", err)
	}
	if left, _ := filepath.Glob(f.path(temporary + "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// What a crash left half unpacked goes away, and after another boot, in which files may have come out empty, nothing is trusted.
func TestBoot(t *testing.T) {
	dir := t.TempDir()
	digest := strings.Repeat("a", 64)
	fill := func() {
		for _, name := range []string{digest, temporary + "123", merged + digest} {
			if err := os.MkdirAll(filepath.Join(dir, name, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	start := func(boot string) *Store {
		fill()
		s, err := open(Config{Dir: dir, Now: time.Now}, nil, nil, boot)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		boot string
		kept bool
	}{{"first", false}, {"first", true}, {"second", false}, {"second", true}, {"", false}, {"", false}} {
		s := start(c.boot)
		if s.has(digest) != c.kept || s.has(merged+digest) != c.kept {
			t.Errorf("in boot %q a package is kept: %v, want %v", c.boot, s.has(digest), c.kept)
		}
		if err := s.clean(); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, temporary+"*")); len(left) > 0 {
			t.Errorf("in boot %q left behind: %q", c.boot, left)
		}
	}
	for range 2 { // a start that was killed before it had cleaned up
		if start("").has(digest) {
			t.Error("the package is there")
		}
	}
}

func TestUpload(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	good := pack(t, "a", strings.Repeat("x", 1000))
	if size, err := f.Upload(ctx, project, Digest(good), bytes.NewReader(good)); err != nil || size != int64(len(good)) {
		t.Fatal(size, err)
	}
	if n, err := f.Unpacked(ctx, project, Digest(good)); err != nil || n != 1000 {
		t.Errorf("unpacked %d, %v", n, err)
	}
	if _, err := f.Stat(ctx, "222222222222", Digest(good)); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("another project's package: %v", err)
	}
	bad := []byte("no zip")
	if _, err := f.Upload(ctx, project, Digest(bad), bytes.NewReader(bad)); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("no zip: %v", err)
	}
	if _, err := f.Stat(ctx, project, Digest(bad)); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("no zip is kept: %v", err)
	}
	// A host that cannot unpack is no reason to throw a package away.
	next := pack(t, "b", "b")
	if err := os.Rename(f.cfg.Dir, f.cfg.Dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Upload(ctx, project, Digest(next), bytes.NewReader(next)); hansom.KindOf(err) != hansom.Internal {
		t.Errorf("without a directory: %v", err)
	}
	if _, err := f.Stat(ctx, project, Digest(next)); err != nil {
		t.Error(err)
	}
}

// needs marks layers, and single packages, as references.
func needs(layers ...hansom.Layer) func(context.Context, *References) error {
	return func(_ context.Context, r *References) error {
		r.Layers(layers)
		return nil
	}
}

func (f *fixture) collect(want Collected, refs func(context.Context, *References) error) {
	f.t.Helper()
	got, err := f.Collect(context.Background(), refs)
	got.Bytes = 0
	if err != nil || got != want {
		f.t.Errorf("collected %+v, %v; want %+v", got, err, want)
	}
}

func (f *fixture) stored(l hansom.Layer, want bool) {
	f.t.Helper()
	_, err := f.blobs.Stat(context.Background(), Key(project, l.SHA256))
	if (err == nil) != want || f.has(l.SHA256) != want {
		f.t.Errorf("the package is stored: %v, unpacked: %v; want %v", err, f.has(l.SHA256), want)
	}
}

func TestCollect(t *testing.T) {
	const hour = time.Hour
	f := newFixture(t)
	kept, a, b := f.put("f", "kept"), f.put("f", "a"), f.put("f", "b")
	for _, name := range []string{"222222222222/objects/" + a.SHA256 + ".zip", project + "/code/readme"} { // no packages
		if _, err := f.blobs.Put(context.Background(), name, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	_, release, err := f.Layers(context.Background(), []hansom.Layer{a, b})
	if err != nil {
		t.Fatal(err)
	}
	release()
	f.collect(Collected{}, needs(kept, a)) // b and a over b are seen to be unused
	f.clock.forward(23 * hour)
	f.reopen() // a restart does not begin the period anew
	f.collect(Collected{}, needs(kept, a))
	f.clock.forward(2 * hour)
	f.collect(Collected{Packages: 1, Directories: 2}, needs(kept, a))
	f.stored(b, false)
	f.stored(a, true)
	f.stored(kept, true)

	// What was in use until now has its grace from now on, however old it is.
	f.collect(Collected{}, needs(kept))
	f.clock.forward(23 * hour)
	f.collect(Collected{}, needs(kept, a))
	f.clock.forward(2 * hour)
	f.collect(Collected{}, needs(kept))
	f.clock.forward(25 * hour)
	// Whoever asks for it is about to use it.
	if _, err := f.Stat(context.Background(), project, a.SHA256); err != nil {
		t.Error(err)
	}
	f.collect(Collected{}, needs(kept))
	f.clock.forward(25 * hour)
	// An instance runs it.
	_, release, err = f.Dir(context.Background(), project, a.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.collect(Collected{}, needs(kept))
		f.clock.forward(25 * hour)
	}
	release()
	release()
	f.collect(Collected{}, needs(kept))
	f.clock.forward(25 * hour)
	f.collect(Collected{Packages: 1, Directories: 1}, needs(kept))
	f.stored(a, false)
	f.stored(kept, true)
	if n, _ := f.Totals(); n != 2 { // since the restart
		t.Errorf("%d packages collected in all", n)
	}

	// It can be uploaded again; the references could not be read, so nothing goes.
	f.put("f", "a")
	f.collect(Collected{}, needs(kept))
	f.clock.forward(25 * hour)
	broken := errors.New("the database is away")
	if _, err := f.Collect(context.Background(), func(context.Context, *References) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	f.stored(a, true)
	if err := os.WriteFile(f.path(marksFile), []byte("{"), 0o644); err != nil { // as a power cut leaves it
		t.Fatal(err)
	}
	f.collect(Collected{}, needs(kept))
	f.clock.forward(25 * hour)
	f.collect(Collected{Packages: 1, Directories: 1}, needs(kept))
	for _, name := range []string{"222222222222/objects/" + a.SHA256 + ".zip", project + "/code/readme"} {
		if _, err := f.blobs.Stat(context.Background(), name); err != nil {
			t.Error(err)
		}
	}
}

// Deployments run beside a collector without any grace: what was referred to is there, and what is in use stays.
func TestCollectBesideDeployments(t *testing.T) {
	f := newFixture(t)
	f.cfg.Grace = 0
	ctx := context.Background()
	var mu sync.Mutex // a transaction
	current := map[int]hansom.Layer{}
	refs := func(_ context.Context, r *References) error {
		mu.Lock()
		defer mu.Unlock()
		for _, l := range current {
			r.Package(project, l.SHA256)
		}
		return nil
	}
	stop := make(chan struct{})
	var collector, deployers sync.WaitGroup
	var collected int
	collector.Go(func() {
		for {
			c, err := f.Collect(ctx, refs)
			if err != nil {
				t.Error(err)
			}
			collected += c.Packages
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	retried := make([]int, 4)
	for worker := range retried {
		deployers.Go(func() {
			for i := range 60 {
				content := fmt.Sprint(worker%2, " ", i%7, " ", rand.Text()[:1]) // often what another has, or had
				zip := pack(t, "f", content)
				l := hansom.Layer{ARN: hansom.LayerARN("us-east-1", project, "l", 1), SHA256: Digest(zip)}
				for { // uploads, and then deploys what the server may have forgotten meanwhile
					if _, err := f.Upload(ctx, project, l.SHA256, bytes.NewReader(zip)); err != nil {
						t.Error(err)
						return
					}
					if _, err := f.Prepare(ctx, project, l.SHA256); hansom.KindOf(err) == hansom.NotFound {
						retried[worker]++
						continue
					} else if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					_, err := f.Stat(ctx, project, l.SHA256)
					if err == nil {
						current[worker] = l
					}
					mu.Unlock()
					if err == nil {
						break
					}
					retried[worker]++
				}
				dir, release, err := f.Dir(ctx, project, l.SHA256)
				if err != nil {
					t.Errorf("deployed, and gone: %v", err)
					return
				}
				mu.Lock()
				delete(current, worker) // its instance still runs
				mu.Unlock()
				if _, err := f.Collect(ctx, refs); err != nil {
					t.Error(err)
				}
				if text, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(text) != content {
					t.Errorf("taken away from below an instance: %v", err)
				}
				release()
			}
		})
	}
	deployers.Wait()
	close(stop)
	collector.Wait()
	if collected == 0 {
		t.Error("nothing was collected meanwhile")
	}
	t.Logf("%d packages collected beside the deployments, which began anew %v times", collected, retried)
}
