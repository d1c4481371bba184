package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom/internal/cli/command"
)

// write makes files below dir; a path that ends with * is executable.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		mode := fs.FileMode(0o644)
		name, executable := strings.CutSuffix(name, "*")
		if executable {
			mode = 0o755
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
}

func checkLeaks(t *testing.T) {
	t.Helper()
	ignored := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignored) })
}

// The example builds and deploys.
func TestExample(t *testing.T) {
	t.Parallel()
	srv := newTestServer(t, t.TempDir())
	srv.start(t)
	var out, errs strings.Builder
	code := Run(t.Context(), Options{
		Args: []string{"deploy", "../../examples/hello"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Environ: append(os.Environ(), "HANSOM_API="+srv.APIAddr(), "HANSOM_ACCESS_KEY_ID=test", "HANSOM_SECRET_ACCESS_KEY=test"),
	})
	for _, want := range []string{"create  function  hello-node", "create  function  hello-python", "create  function  hello-go"} {
		if code != command.ExitOK || !strings.Contains(out.String(), want) {
			t.Errorf("exit code %d, want %q in:\n%s%s", code, want, out.String(), errs.String())
		}
	}
}
