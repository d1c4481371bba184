package sandboxtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// blank prepares a sandbox that shows a behaviour once it is told to, and is killed by the test's end.
func (s *suite) blank(t *testing.T, d sandbox.Driver, b Behaviour, args ...string) (sandbox.Blank, sandbox.Spec) {
	t.Helper()
	p, ok := d.(sandbox.Preparer)
	if !ok {
		t.Skip("this driver makes no blanks")
	}
	spec := s.spec(t, After, append([]string{string(b)}, args...)...)
	spec.Command[0] = "/var/lang/" + filepath.Base(spec.Command[0])
	spec.Binds[0].Target = "/var/lang"
	spec.Frames = true
	spec.Boot = &sandbox.Boot{Env: append(spec.Env, "BOOTED=yes"), Late: []string{"/var/task", "/opt"}}
	spec.Env = append(spec.Env, "SECRET=of a function")
	for _, late := range []string{"task", "opt"} {
		dir := t.TempDir()
		os.Chmod(dir, 0o755)
		if err := os.WriteFile(filepath.Join(dir, late), []byte("code"), 0o666); err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Join(dir, late), 0o666)
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: dir, Target: map[string]string{"task": "/var/task", "opt": "/opt"}[late]})
	}
	sb, err := p.Prepare(patient(t), spec)
	if hansom.KindOf(err) == hansom.Unsupported {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	t.Cleanup(func() {
		sb.Kill()
		sb.Output().Close()
	})
	return sb, spec
}

// bind binds a blank and has it show what it is for.
func bind(t *testing.T, sb sandbox.Blank, spec sandbox.Spec) {
	t.Helper()
	if err := sb.Bind(patient(t), spec); err != nil {
		t.Fatalf("Bind: %v", err)
	}
	if _, err := sb.Conn().Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) testBlank(t *testing.T, d sandbox.Driver) {
	sb, spec := s.blank(t, d, Files, "/var/task/task", "/opt/opt", "/opt/new", "/var/lang/new", "/tmp/new")
	bind(t, sb, spec)
	got := output(t, sb)
	for _, want := range []string{"/var/task/task read ok", "/var/task/task write EROFS", "/opt/opt read ok", "/opt/opt write EROFS", "/opt/new write EROFS", "/var/lang/new write EROFS", "/tmp/new write ok"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, target := range []string{"/var/task", "/opt"} {
		for line := range strings.Lines(got) {
			if strings.Contains(line, " "+target+" ") && !(strings.Contains(line, "nosuid") && strings.Contains(line, "nodev") && strings.Contains(line, "ro,")) {
				t.Errorf("mounted without protection: %s", line)
			}
			if strings.Contains(line, " "+target+" ") && (strings.Contains(line, "shared:") || strings.Contains(line, "master:")) {
				t.Errorf("mounts of the host spread to it: %s", line)
			}
		}
	}
	// What one was bound to shows in no other.
	other, spec := s.blank(t, d, Files, "/var/task/task", "/opt/opt", "/tmp/new")
	spec.Binds = spec.Binds[:1]
	bind(t, other, spec)
	got = output(t, other)
	for _, want := range []string{"/var/task/task read ENOENT", "/opt/opt read ENOENT"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in a blank that was bound without files:\n%s", want, got)
		}
	}
}

func (s *suite) testBlankEnvironment(t *testing.T, d sandbox.Driver) {
	sb, spec := s.blank(t, d, Environment)
	bind(t, sb, spec)
	if got := output(t, sb); !strings.Contains(got, `env "BOOTED=yes"`) || strings.Contains(got, "SECRET") {
		t.Errorf("a blank boots with Boot.Env alone, but it has\n%s", got)
	}
}

func (s *suite) testBlankTmp(t *testing.T, d sandbox.Driver) {
	sb, spec := s.blank(t, d, Fill, "/tmp/file")
	spec.Memory, spec.Tmp = 320<<20, 144<<20 // more than it had
	bind(t, sb, spec)
	if got, want := output(t, sb), "144 MB then ENOSPC\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	sb, spec = s.blank(t, d, Fill, "/tmp/file")
	spec.Memory, spec.Tmp = 128<<20, 16<<20
	bind(t, sb, spec)
	if got, want := output(t, sb), "16 MB then ENOSPC\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

func (s *suite) testBlankMemory(t *testing.T, d sandbox.Driver) {
	s.limited(t)
	for _, memory := range []int64{128 << 20, 384 << 20} { // a blank has 256 MB
		sb, spec := s.blank(t, d, Eat, "self")
		spec.Memory = memory
		bind(t, sb, spec)
		if got := ended(t, sb); !got.OOM {
			t.Errorf("exit %+v, want OOM; output %s", got, output(t, sb))
		}
		if peak := sb.Usage().MemoryPeak; peak < memory-8<<20 || peak > memory+1<<20 {
			t.Errorf("peak of %d MB, want about %d", peak>>20, memory>>20)
		}
	}
}

func (s *suite) testBlankDies(t *testing.T, d sandbox.Driver) {
	sb, spec := s.blank(t, d, Exit, "7")
	sb.Conn().Write([]byte("!"))
	if got := ended(t, sb); got.Code != 7 {
		t.Errorf("exit %v", got)
	}
	if err := sb.Bind(patient(t), spec); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("Bind of a blank that has ended: %v, want ErrClosed", err)
	}
	sb, spec = s.blank(t, d, Hold)
	spec.Binds[1].Source = filepath.Join(t.TempDir(), "missing")
	if err := sb.Bind(patient(t), spec); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("Bind of what is not there: %v, want Invalid", err)
	}
	spec.Boot, spec.ID = nil, "unbooted"
	if sb, err := d.(sandbox.Preparer).Prepare(patient(t), spec); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("Prepare without Boot: %v, %v, want Invalid", sb, err)
	}
	spec.Boot = &sandbox.Boot{Late: []string{"/nowhere"}}
	if sb, err := d.(sandbox.Preparer).Prepare(patient(t), spec); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("Prepare for a bind at a path that is not there: %v, %v, want Invalid", sb, err)
	}
}
