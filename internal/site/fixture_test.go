package site

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/blob"
	"github.com/hansomcloud/hansom/internal/blob/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const project = "000000000000"

// created is when the deployments of the tests were made.
var created = time.Date(2026, 11, 30, 12, 0, 0, 500e6, time.UTC)

// fixture is a service on files in a temporary directory.
type fixture struct {
	*Service
	store *artifact.Store
	blobs blob.Store
	now   time.Time
	past  map[int64]hansom.Site
}

func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	blobs, err := disk.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{blobs: blobs, now: created, past: map[int64]hansom.Site{}}
	cfg := artifact.DefaultConfig(t.TempDir())
	cfg.Now = func() time.Time { return f.now }
	if f.store, err = artifact.New(cfg, blobs, nil); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	for _, g := range change {
		g(&c)
	}
	f.Service = New(c, f.store, slog.New(slog.DiscardHandler))
	f.SetDeployments(f)
	return f
}

// Site implements Deployments.
func (f *fixture) Site(ctx context.Context, project, app string, number int64) (hansom.Site, error) {
	s, ok := f.past[number]
	if !ok {
		return s, hansom.Errorf(hansom.NotFound, "find site", "none")
	}
	return s, nil
}

// upload uploads files and prepares them.
func (f *fixture) upload(t testing.TB, files map[string]string) string {
	t.Helper()
	digest := f.put(t, files)
	if err := f.Prepare(t.Context(), project, digest); err != nil {
		t.Fatal(err)
	}
	return digest
}

// put uploads files.
func (f *fixture) put(t testing.TB, files map[string]string) string {
	t.Helper()
	u := &artifact.Upload{}
	byDigest := map[string]string{}
	for name, text := range files {
		digest := artifact.Digest([]byte(text))
		byDigest[digest] = text
		u.Files = append(u.Files, artifact.File{Path: name, SHA256: digest, Size: int64(len(text))})
	}
	text, digest, err := u.Encode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.PutUpload(t.Context(), project, digest, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range out.Missing {
		if err := f.PutFile(t.Context(), project, digest, missing, bytes.NewReader([]byte(byDigest[missing]))); err != nil {
			t.Fatal(err)
		}
	}
	return digest
}

// deploy makes an upload the live site of the app pages.
func (f *fixture) deploy(t testing.TB, number int64, files map[string]string, change ...func(*hansom.Site)) {
	t.Helper()
	s := hansom.Site{Project: project, App: "pages", Deployment: number, Created: created, Upload: f.upload(t, files), CleanURLs: true}
	for _, g := range change {
		g(&s)
	}
	f.past[number] = s
	f.SetApps([]App{{Project: project, Name: "pages", Latest: number, Site: &s}})
}
