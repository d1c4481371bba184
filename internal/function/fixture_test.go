package function

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/blob"
	"github.com/hansomcloud/hansom/internal/blob/disk"
	"github.com/hansomcloud/hansom/internal/db"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const project = "111111111111"

// hostRuntimes has python3.12, and node of another version than is asked for.
type hostRuntimes struct{}

func (hostRuntimes) CheckRuntime(id string) (string, error) {
	switch {
	case strings.HasPrefix(id, "nodejs"):
		return "this host has Node.js 99", nil
	case id == "python3.12" || id == "provided.al2023":
		return "", nil
	}
	return "", hansom.Errorf(hansom.Invalid, "check runtime", "the runtime %s is not installed", id)
}

func (hostRuntimes) RuntimeARN(id string) string { return "arn:aws:lambda:us-east-1::runtime:" + id }

// archive makes a zip with one file.
func archive(t testing.TB, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(name)
	if err == nil {
		_, err = f.Write([]byte(content))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func simple(t testing.TB, name string) CreateInput {
	return CreateInput{Name: name, Runtime: "python3.12", Handler: "index.handler", Role: "arn:aws:iam::" + project + ":role/r",
		Code: Source{Zip: archive(t, "index.py", "def handler(e, c): return 1\n")}}
}

// host is what of a server outlives it.
type host struct {
	dir   string
	blobs blob.Store
}

// shelf has the versions of layers in its map, by name:version.
type shelf map[string]hansom.Layer

func (l shelf) Resolve(_ context.Context, _ db.Querier, _, arn string) (hansom.Layer, error) {
	if layer, ok := l[strings.TrimPrefix(arn, layerARN(""))]; ok {
		return layer, nil
	}
	return hansom.Layer{}, hansom.Errorf(hansom.Invalid, "find layer", "Layer version %s does not exist.", arn)
}

func layerARN(name string) string { return hansom.LayerARN("us-east-1", project, name, 0) }

// put stores a layer with one file in the service's store and on its shelf.
func (l shelf) put(t testing.TB, s *Service, name, file, content string) {
	t.Helper()
	zip := archive(t, file, content)
	if err := s.artifacts.Put(context.Background(), project, zip, true); err != nil {
		t.Fatal(err)
	}
	l[name] = hansom.Layer{ARN: layerARN(name), SHA256: digestOf(zip), Size: int64(len(zip))}
}

func (h host) unpacked(digest string) string { return filepath.Join(h.dir, "code", digest) }

func newHost(t testing.TB) host {
	t.Helper()
	dir := t.TempDir()
	blobs, err := disk.New(filepath.Join(dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	return host{dir, blobs}
}

// open makes a service without running it.
func (h host) open(t testing.TB, d *db.DB) *Service {
	t.Helper()
	artifacts, err := artifact.New(artifact.DefaultConfig(h.dir), h.blobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(context.Background(), DefaultConfig(), d, artifacts, shelf{}, hostRuntimes{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a service until the test ends.
func run(t testing.TB, s *Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func running(t testing.TB, d *db.DB) *Service {
	t.Helper()
	s := newHost(t).open(t, d)
	run(t, s)
	return s
}

// changes tells of each change of the configuration.
func changes(d *db.DB) <-chan struct{} {
	c := make(chan struct{}, 1)
	d.Subscribe(func(db.Change) {
		select {
		case c <- struct{}{}:
		default:
		}
	})
	return c
}

// settle waits until nothing of a function is pending.
func settle(t testing.TB, s *Service, changed <-chan struct{}, project, name string) Function {
	t.Helper()
	for {
		f, err := s.Get(context.Background(), project, name, "")
		if err != nil {
			t.Fatal(err)
		}
		if f.State != StatePending && f.LastUpdateStatus != UpdateInProgress {
			return f
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("the function did not settle")
		}
	}
}

func create(t testing.TB, s *Service, in CreateInput) Function {
	t.Helper()
	f, err := s.Create(context.Background(), project, in)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantError(t testing.TB, what string, err error, kind hansom.Kind, message string) {
	t.Helper()
	if err == nil || hansom.KindOf(err) != kind || !strings.Contains(err.Error(), message) {
		t.Errorf("%s: got %v (kind %d), want kind %d with %q", what, err, hansom.KindOf(err), kind, message)
	}
}
