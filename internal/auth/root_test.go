package auth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

func checkModes(t *testing.T, dir string, getenv func(string) string) {
	t.Helper()
	for _, name := range []string{"key", "credentials"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", name, info.Mode(), err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LoadMasterKey(dir, getenv); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others may read: %v", err)
	}
	if _, err := LoadRoot(dir, getenv); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("credentials that others may read: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestProfileFile(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want hansom.Credentials
	}{
		"ours":          {"[default]\naws_access_key_id = A\naws_secret_access_key = b=c\n", hansom.Credentials{AccessKeyID: "A", SecretAccessKey: "b=c"}},
		"other profile": {"[other]\naws_access_key_id=X\n[default]\n# aws_access_key_id=Y\naws_access_key_id=A\naws_secret_access_key=b", hansom.Credentials{AccessKeyID: "A", SecretAccessKey: "b"}},
		"garbage":       {"\x00\xff[", hansom.Credentials{}},
	} {
		if got := parseProfile([]byte(c.text)); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "credentials"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadRoot(dir, func(string) string { return "" }); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("a file without keys: %v", err)
	}
}
