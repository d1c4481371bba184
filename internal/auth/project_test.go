package auth

import (
	"context"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestProjectsAndKeys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, cfg := t.Context(), testConfig()
		open := func() *Service {
			s, err := New(ctx, cfg, d, testKey, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		if all := s.Projects(); len(all) != 1 || all[0].ID != hansom.DefaultProject || all[0].Slug != "default" || !all[0].Created.Equal(testNow) {
			t.Fatalf("projects at the start: %+v", all)
		}
		p, err := s.CreateProject(ctx, "shop")
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[0-9]{12}$`).MatchString(p.ID) {
			t.Errorf("id is %q", p.ID)
		}
		for _, name := range []string{"shop", p.ID} {
			if got, err := s.Project(name); err != nil || got != p {
				t.Errorf("Project(%q) is %+v, %v", name, got, err)
			}
		}
		if _, err := s.CreateProject(ctx, "shop"); hansom.KindOf(err) != hansom.Conflict {
			t.Errorf("a slug taken twice: %v", err)
		}
		for _, bad := range []string{"lambda-url", "execute-api", "", "Shop", "1shop", "-a", "a-", "a.b", strings.Repeat("a", 64), "123456789012"} {
			if _, err := s.CreateProject(ctx, bad); hansom.KindOf(err) != hansom.Invalid {
				t.Errorf("slug %q: %v", bad, err)
			}
		}

		k, c, err := s.CreateKey(ctx, "shop", "ci@build")
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(k.ID) || c.AccessKeyID != k.ID || len(c.SecretAccessKey) != 40 {
			t.Errorf("key is %+v with a secret of %d characters", k, len(c.SecretAccessKey))
		}
		who, err := s.Authenticate(signed(t, c, "lambda", testNow, "{}"))
		if err != nil {
			t.Fatal(err)
		}
		if who.Kind != hansom.AccessKey || who.Project != p.ID || who.ARN != "arn:aws:iam::"+p.ID+":user/ci@build" || !strings.HasPrefix(who.UserID, "AIDA") {
			t.Errorf("principal is %+v", who)
		}
		session := s.Issue(who, time.Hour)

		// The store holds no secret in the clear, and a restart reads it back.
		var sealed string
		if err := d.Read().QueryRowContext(ctx, `SELECT secret FROM auth_key WHERE id = ?`, k.ID).Scan(&sealed); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(sealed, c.SecretAccessKey) || len(sealed) < len(c.SecretAccessKey) {
			t.Errorf("stored secret is %q", sealed)
		}
		if again, err := open().Authenticate(signed(t, c, "lambda", testNow, "{}")); err != nil || again != who {
			t.Errorf("after a restart: %+v, %v", again, err)
		}
		if _, err := New(ctx, cfg, d, append([]byte{1}, testKey[1:]...), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "HANSOM_MASTER_KEY") {
			t.Errorf("another master key: %v", err)
		}

		if keys, err := s.Keys(p.ID); err != nil || len(keys) != 1 || keys[0] != k {
			t.Errorf("keys are %+v, %v", keys, err)
		}
		if keys, err := s.Keys("default"); err != nil || len(keys) != 0 {
			t.Errorf("keys of another project are %+v, %v", keys, err)
		}
		if err := s.DeleteKey(ctx, "default", k.ID); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("deleting a key of another project: %v", err)
		}
		if _, _, err := s.CreateKey(ctx, "none", "x"); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("key of no project: %v", err)
		}
		if _, _, err := s.CreateKey(ctx, "shop", "a b"); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("key with a bad name: %v", err)
		}
		if _, err := s.Authenticate(signed(t, session, "lambda", testNow, "{}")); err != nil {
			t.Errorf("session: %v", err)
		}
		if err := s.DeleteKey(ctx, "shop", k.ID); err != nil {
			t.Fatal(err)
		}
		for _, gone := range []hansom.Credentials{c, session} {
			_, err = s.Authenticate(signed(t, gone, "lambda", testNow, "{}"))
			wantCode(t, err, "UnrecognizedClientException")
		}

		// Deleting a project ends its keys and sessions, unless something is left in it.
		_, c, err = s.CreateKey(ctx, "shop", "ci")
		if err != nil {
			t.Fatal(err)
		}
		role := s.Issue(AssumedRole(p.ID, "arn:aws:iam::"+p.ID+":role/r", "me"), time.Hour)
		if _, err := s.Authenticate(signed(t, role, "sts", testNow, "{}")); err != nil {
			t.Fatal(err)
		}
		inUse := func(context.Context, *db.Tx) error {
			return hansom.Errorf(hansom.Conflict, "check", "it has functions")
		}
		if err := s.DeleteProject(ctx, "shop", inUse); hansom.KindOf(err) != hansom.Conflict {
			t.Errorf("project in use: %v", err)
		}
		if _, err := s.Authenticate(signed(t, c, "lambda", testNow, "{}")); err != nil {
			t.Errorf("after a refused deletion: %v", err)
		}
		if err := s.DeleteProject(ctx, "shop", nil); err != nil {
			t.Fatal(err)
		}
		for _, gone := range []hansom.Credentials{c, role} {
			_, err = s.Authenticate(signed(t, gone, "lambda", testNow, "{}"))
			wantCode(t, err, "UnrecognizedClientException")
		}
		if err := s.DeleteProject(ctx, "shop", nil); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("deleting twice: %v", err)
		}
		if err := s.DeleteProject(ctx, "default", nil); hansom.KindOf(err) != hansom.Conflict {
			t.Errorf("deleting the default project: %v", err)
		}
	})
}

// A project keeps what its functions reach, apart from other projects.
func TestProjectEgress(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		open := func() *Service {
			s, err := New(ctx, testConfig(), d, testKey, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		p, err := s.CreateProject(ctx, "shop")
		if err != nil || p.Egress != "" {
			t.Fatalf("a new project has egress %q, %v", p.Egress, err)
		}
		for i, egress := range []string{hansom.EgressNone, hansom.EgressPlatform, hansom.EgressInternet, ""} {
			name := []string{"shop", p.ID}[i%2]
			got, err := s.SetEgress(ctx, name, egress)
			if want := (Project{p.ID, "shop", p.Created, egress}); err != nil || got != want {
				t.Errorf("set to %q: %+v, %v", egress, got, err)
			}
			for _, s := range []*Service{s, open()} {
				kept, err := s.Project("shop")
				other, e := s.Project("default")
				if err != nil || e != nil || kept != got || other.Egress != "" {
					t.Errorf("kept are %+v, %v and %+v, %v", kept, err, other, e)
				}
			}
		}
		for _, bad := range []string{"all", "default", "Internet", "none "} {
			if _, err := s.SetEgress(ctx, "shop", bad); hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), "none, platform or internet") {
				t.Errorf("egress %q: %v", bad, err)
			}
		}
		if _, err := s.SetEgress(ctx, "nope", hansom.EgressNone); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("egress of no project: %v", err)
		}
	})
}

func TestDevKeys(t *testing.T) {
	keys := hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}
	cfg := testConfig()
	_, err := newService(t, cfg).Authenticate(signed(t, keys, "lambda", testNow, "{}"))
	wantCode(t, err, "UnrecognizedClientException")
	cfg.Dev = true
	s := newService(t, cfg)
	if p, err := s.Authenticate(signed(t, keys, "lambda", testNow, "{}")); err != nil || p.Kind != hansom.Root || p.Project != hansom.DefaultProject {
		t.Errorf("principal is %+v, %v", p, err)
	}
	keys.SecretAccessKey = "tesT"
	_, err = s.Authenticate(signed(t, keys, "lambda", testNow, "{}"))
	wantCode(t, err, "InvalidSignatureException")
}

// A key whose deletion could not be read back does not go on working.
func TestStaleStateRefuses(t *testing.T) {
	d := openDB(t)
	s, err := New(t.Context(), testConfig(), d, testKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	s.changed(db.Change{Domain: domain})
	if _, err := s.Authenticate(signed(t, testRoot, "lambda", testNow, "{}")); hansom.KindOf(err) != hansom.Unavailable {
		t.Errorf("error is %v", err)
	}
}

func TestConcurrentChanges(t *testing.T) {
	s := newService(t, testConfig())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				k, c, err := s.CreateKey(t.Context(), hansom.DefaultProject, "n")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Authenticate(signed(t, c, "lambda", testNow, "{}")); err != nil {
					t.Error(err)
				}
				if err := s.DeleteKey(t.Context(), hansom.DefaultProject, k.ID); err != nil {
					t.Error(err)
				}
				if _, err := s.Authenticate(signed(t, c, "lambda", testNow, "{}")); err == nil {
					t.Error("a deleted key is accepted")
				}
			}
		})
	}
	wg.Wait()
}

func TestKeptFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	none := func(string) string { return "" }
	key, err := LoadMasterKey(dir, none)
	if err != nil || len(key) != 32 {
		t.Fatal(len(key), err)
	}
	if again, err := LoadMasterKey(dir, none); err != nil || string(again) != string(key) {
		t.Error("the master key is not kept", err)
	}
	root, err := LoadRoot(dir, none)
	if err != nil || !strings.HasPrefix(root.AccessKeyID, "AKIA") || len(root.SecretAccessKey) != 40 {
		t.Fatal(root.AccessKeyID, err)
	}
	if again, err := LoadRoot(dir, none); err != nil || again != root {
		t.Error("the root credentials are not kept", err)
	}
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	if got, err := LoadRoot(dir, env(map[string]string{"HANSOM_ROOT_ACCESS_KEY_ID": "AKIAME", "HANSOM_ROOT_SECRET_ACCESS_KEY": "longenough"})); err != nil || got.AccessKeyID != "AKIAME" {
		t.Error(got.AccessKeyID, err)
	}
	if _, err := LoadRoot(dir, env(map[string]string{"HANSOM_ROOT_ACCESS_KEY_ID": "AKIAME"})); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("half the root credentials: %v", err)
	}
	hexKey := strings.Repeat("0a", 32)
	if got, err := LoadMasterKey(dir, env(map[string]string{"HANSOM_MASTER_KEY": hexKey})); err != nil || got[0] != 10 {
		t.Error(got, err)
	}
	if _, err := LoadMasterKey(dir, env(map[string]string{"HANSOM_MASTER_KEY": "short"})); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("a short key: %v", err)
	}
	checkModes(t, dir, none)
}
