package runtimes

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// serve is the command line of an http function. A handler that names a file of the code is that program, and "bootstrap" is
// also run.sh, as users of Lambda Web Adapter call it. Any other handler is a command line, as in a Procfile: the shell finds its
// program in PATH and puts in $PORT.
func serve(handler, code string) ([]string, error) {
	names := []string{handler}
	if handler == "bootstrap" {
		names = append(names, "run.sh")
	}
	for _, name := range names {
		found, runs := executable(code, name)
		switch {
		case runs:
			return []string{path.Join(TaskRoot, name)}, nil
		case found:
			return nil, invalidEntrypoint("%s is not executable: run chmod +x on it, or set the handler to the command line that starts the server", name)
		}
	}
	if handler == "bootstrap" {
		return nil, invalidEntrypoint("Couldn't find valid bootstrap(s): [%s/bootstrap %[1]s/run.sh]; or set the handler to the command line that starts the server, such as node server.js", TaskRoot)
	}
	if isProgram(handler) {
		handler = "exec " + handler // not every shell does that by itself
	}
	return []string{"/bin/sh", "-c", handler}, nil
}

// builtins are commands of the shell that make no sense as the last of a command line but may begin one.
var builtins = []string{".", "cd", "eval", "exec", "export", "set", "source", "trap", "ulimit", "umask", "unset"}

// isProgram says that a command line is one program with arguments, and no list, redirection or assignment.
func isProgram(line string) bool {
	fields := strings.Fields(line)
	return len(fields) > 0 && !strings.Contains(fields[0], "=") && !slices.Contains(builtins, fields[0]) && !strings.ContainsAny(line, ";&|<>()`")
}

func invalidEntrypoint(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "start runtime", format, args...).WithCode("Runtime.InvalidEntrypoint")
}

// executable says whether name is a file below dir, and whether it can be run.
func executable(dir, name string) (found, runs bool) {
	fi, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
	if !filepath.IsLocal(name) || err != nil || !fi.Mode().IsRegular() {
		return false, false
	}
	return true, fi.Mode()&0o111 != 0
}

// languages lets the command line of an http function find the newest interpreter of each family: one that is not below /usr has
// a directory of its own below LangRoot.
func (c *Catalogue) languages(r *Runtime) {
	dirs := []string{"/usr/local/bin", "/usr/bin", "/bin", "/opt/bin"}
	for _, f := range []Family{Node, Python} {
		in := c.nearest(f, math.MaxInt16)
		if in == nil {
			continue
		}
		dir := path.Dir(in.inside)
		if in.prefix != "" {
			root := path.Join(LangRoot, string(f))
			r.Binds = append(r.Binds, Bind{in.prefix, root})
			dir = root + strings.TrimPrefix(dir, LangRoot)
		}
		if !slices.Contains(dirs, dir) {
			dirs = slices.Insert(dirs, 0, dir)
		}
	}
	r.Env = []string{
		"PATH=" + strings.Join(dirs, ":"), libraryPath,
		"NODE_PATH=/opt/nodejs/node_modules", "PYTHONPATH=/opt/python",
		"PYTHONUNBUFFERED=1", // or a pipe keeps what is printed until the end
	}
}
