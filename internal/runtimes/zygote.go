package runtimes

import (
	"path/filepath"
	"slices"
	"strings"
)

// Zygote is a program from which the processes of a runtime can be forked. Its paths are as seen inside a sandbox with the
// runtime's Binds.
type Zygote struct {
	Command []string
	Env     []string // complete
	Files   []string // on the host: when one of them changes, so does the program
}

// Zygote returns the runtime's program for functions with an environment, nil when there is none or when they must boot; see Late.
func (r *Runtime) Zygote(environment map[string]string) *Zygote {
	if r.Family != Python || !r.Late(environment) {
		return nil
	}
	command, err := r.Command("", 0, "", "")
	if err != nil {
		return nil
	}
	z := &Zygote{Command: append(command, "zygote"), Env: r.Env, Files: []string{r.Interpreter}}
	for _, b := range r.Binds {
		if rest, ok := strings.CutPrefix(r.bootstrap, b.Target+"/"); ok {
			file := filepath.Join(b.Source, rest)
			z.Files = append(z.Files, file, filepath.Join(filepath.Dir(file), "zygote.py"))
		}
	}
	return z
}

// What the C library, the dynamic linker and the interpreters read when they start, and not again.
var (
	earlyNames    = []string{Wrapper, "LANG", "LOCPATH", "GCONV_PATH", "TZDIR"}
	earlyPrefixes = []string{"LD_", "LC_", "MALLOC_", "GLIBC_"}
	earlyOf       = map[Family][]string{Python: {"PYTHON"}, Node: {"NODE_", "UV_", "OPENSSL_", "SSL_"}}
)

// Late reports whether a process that has started without a function's environment can take it on afterwards, as one can that
// nothing in it would have made start otherwise.
func (r *Runtime) Late(environment map[string]string) bool {
	for name := range environment {
		if slices.Contains(earlyNames, name) {
			return false
		}
		for _, prefix := range slices.Concat(earlyPrefixes, earlyOf[r.Family]) {
			if strings.HasPrefix(name, prefix) {
				return false
			}
		}
	}
	return true
}
