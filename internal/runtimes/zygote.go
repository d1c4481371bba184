package runtimes

import (
	"path/filepath"
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
