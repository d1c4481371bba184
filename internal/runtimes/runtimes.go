// Package runtimes is the catalogue of what can run code: it finds the interpreters of the host, maps the identifiers of
// AWS Lambda (nodejs22.x, python3.11, provided.al2023) to them, and carries the bootstraps of the managed runtimes, which
// speak the protocol of package frame on fd 3.
package runtimes

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Where things are inside a sandbox.
const (
	TaskRoot    = "/var/task"    // the function's code
	OptRoot     = "/opt"         // its layers
	RuntimeRoot = "/var/runtime" // the bootstraps of this package
	LangRoot    = "/var/lang"    // an interpreter that is not below /usr
)

// Family is what runtimes of one kind have in common.
type Family string

const (
	Node     Family = "nodejs"
	Python   Family = "python"
	Java     Family = "java"
	Ruby     Family = "ruby"
	Provided Family = "provided" // an executable named bootstrap that polls the HTTP Runtime API
	HTTP     Family = "http"     // any program that serves HTTP on $PORT
)

// Bind shows a host path, read-only, at Target inside a sandbox.
type Bind struct{ Source, Target string }

// Runtime is what an identifier resolves to on this host. It is read-only.
type Runtime struct {
	Identifier  string // as asked for: "nodejs22.x"
	Family      Family
	HostVersion string   // of the interpreter: "22.23.3"; "" for provided runtimes and http
	Warning     string   // not "" when the host's interpreter is not the version asked for; for StateReason and the log
	Env         []string // NAME=value, what the runtime adds to Lambda's own variables
	Binds       []Bind   // the interpreter's prefix, when it is not below /usr, and the bootstraps
	Frames      bool     // speaks frames on fd 3; otherwise it polls the Runtime API or serves HTTP
	Interpreter string   // host path of the interpreter, "" for provided runtimes and http

	executable string // the interpreter as seen inside
	bootstrap  string // the bootstrap as seen inside
}

// Version names what runs: "nodejs:22.23.3", or the identifier of a provided runtime.
func (r *Runtime) Version() string {
	if r.HostVersion == "" {
		return r.Identifier
	}
	return string(r.Family) + ":" + r.HostVersion
}

// ARN names the version as Lambda does: it ends in a hash of what it is.
func (r *Runtime) ARN(region string) string {
	return fmt.Sprintf("arn:aws:lambda:%s::runtime:%x", region, sha256.Sum256([]byte(r.Version())))
}

// Command returns the command line, as seen inside a sandbox, for a function with memory MB. Provided runtimes have their
// program in the function's code or in its layers: code and layers are the host directories shown at TaskRoot and OptRoot,
// "" for none. For http, see serve. The error is hansom.Invalid with the code Runtime.InvalidEntrypoint when there is no program.
func (r *Runtime) Command(handler string, memory int, code, layers string) ([]string, error) {
	switch r.Family {
	case Node:
		return append(append([]string{r.executable}, nodeFlags(memory)...), r.bootstrap), nil
	case Python:
		// No site (half of the boot time; the bootstrap sets sys.path), no user site, no writes of byte code beside the code.
		return []string{r.executable, "-s", "-S", "-B", r.bootstrap}, nil
	case Ruby:
		return []string{r.executable, "--disable=gems", "-EUTF-8", r.bootstrap}, nil
	case Java:
		return r.java(memory), nil
	case HTTP:
		return serve(handler, code)
	}
	for _, at := range []Bind{{code, TaskRoot}, {layers, OptRoot}} {
		if at.Source == "" {
			continue
		}
		if found, runs := executable(at.Source, "bootstrap"); found && runs {
			return []string{path.Join(at.Target, "bootstrap")}, nil
		}
	}
	return nil, invalidEntrypoint("Couldn't find valid bootstrap(s): [%s/bootstrap %s/bootstrap]", TaskRoot, OptRoot)
}

// Wrapper is the variable of a function's environment that names a script to run the command through.
const Wrapper = "AWS_LAMBDA_EXEC_WRAPPER"

// Wrap runs a command through the function's wrapper script, as seen inside a sandbox: the script gets the command as its
// arguments and executes it. "" and provided runtimes have none. The error is hansom.Invalid.
func (r *Runtime) Wrap(command []string, wrapper string) ([]string, error) {
	if wrapper == "" || r.Family == Provided {
		return command, nil
	}
	if !path.IsAbs(wrapper) {
		return nil, hansom.Errorf(hansom.Invalid, "start runtime", "%s is %q, which is not an absolute path such as %s/wrapper or %s/wrapper", Wrapper, wrapper, TaskRoot, OptRoot).WithCode("Runtime.InvalidEntrypoint")
	}
	return append([]string{wrapper}, command...), nil
}

// nodeFlags bounds V8's heap by the function's memory, as it cannot see the cgroup's limit: nine tenths for old objects, and
// for small functions a young generation that does not use up the rest.
func nodeFlags(memory int) []string {
	memory = heapClass(memory)
	flags := []string{"--max-http-header-size=81920", "--max-old-space-size=" + strconv.Itoa(memory*9/10)}
	if memory < 512 {
		flags = append(flags, "--max-semi-space-size="+strconv.Itoa(max(1, memory/32)))
	}
	return flags
}

// heapClass rounds memory down to three binary digits behind the first, so that functions of about the same size can have the same
// blanks: a heap cannot be resized once Node.js has booted.
func heapClass(memory int) int {
	step := 1 << max(0, bits.Len(uint(memory))-4)
	return memory / step * step
}

// Resolve maps an identifier to what this host has: the exact version, else the nearest newer, else the nearest older with
// a Warning. Errors are hansom.Invalid: an identifier that is not known, or of a family that the host or Hansom does not have.
func (c *Catalogue) Resolve(identifier string) (*Runtime, error) {
	if r, ok := c.resolved.Load(identifier); ok {
		return r.(*Runtime), nil
	}
	r, err := c.resolve(identifier)
	if err != nil {
		return nil, err
	}
	kept, _ := c.resolved.LoadOrStore(identifier, r)
	return kept.(*Runtime), nil
}

func (c *Catalogue) resolve(identifier string) (*Runtime, error) {
	family, number, ok := parse(identifier)
	if !ok {
		if err := Validate(identifier); err != nil {
			return nil, err
		}
		return nil, hansom.Errorf(hansom.Invalid, "resolve runtime", "The runtime %s is not supported by this server. Use nodejs*.x, python3.*, java*, ruby3.*, provided.al2, provided.al2023 or http.", identifier)
	}
	r := &Runtime{Identifier: identifier, Family: family}
	switch family {
	case Provided:
		r.Env = []string{libraryPath}
		return r, nil
	case HTTP:
		c.languages(r)
		return r, nil
	}
	in := c.nearest(family, number)
	if in == nil {
		return nil, c.missing(family, identifier)
	}
	r.HostVersion, r.Interpreter, r.Frames, r.executable = in.Version, in.Path, family == Node || family == Python, in.inside
	if in.number() != number {
		r.Warning = identifier + " runs on " + languages[family].name + " " + in.Version + ": this host has no " + languages[family].name + " " + family.short(number) + "."
	}
	if in.prefix != "" {
		r.Binds = append(r.Binds, Bind{in.prefix, LangRoot})
	}
	if c.dir != "" {
		r.Binds = append(r.Binds, Bind{c.dir, RuntimeRoot})
	}
	r.Env, r.bootstrap = []string{libraryPath}, path.Join(RuntimeRoot, c.bootstrap(in))
	switch family {
	case Node:
		r.Env = append(r.Env, "NODE_PATH=/opt/nodejs/node"+strconv.Itoa(number)+"/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task")
	case Python:
		r.Env = append(r.Env, "LC_CTYPE=C.UTF-8") // or Python finds out by itself that the sandbox has no other locale
	case Java:
		r.Env = append(r.Env, "LANG=C.UTF-8") // a locale that the host does not have would make Java read the environment as ASCII
	case Ruby:
		r.Env = append(r.Env, "LC_CTYPE=C.UTF-8", "RUBYLIB=/var/task:/opt/ruby/lib", "GEM_PATH="+gemPath(in.number(), number))
	}
	return r, nil
}

// libraryPath lets functions bring shared libraries in their code and layers, as on Lambda.
const libraryPath = "LD_LIBRARY_PATH=/var/lang/lib:/var/task:/var/task/lib:/opt/lib"

// gemPath lists where packages and layers have gems, for the host's Ruby and for the one asked for, whose gems work too when they
// have nothing compiled; the empty last entry stands for the host's own.
func gemPath(numbers ...int) string {
	var list string
	for _, root := range []string{"/var/task/vendor/bundle/ruby/", "/opt/ruby/gems/"} {
		for _, n := range slices.Compact(slices.Clone(numbers)) {
			list += root + Ruby.short(n) + ".0:"
		}
	}
	return list
}

// java bounds the heap by the function's memory: 85% as Lambda does, but what the virtual machine needs itself stays free. What a
// JAVA_TOOL_OPTIONS of the function may change is in a file of flags, which the virtual machine reads before it.
func (r *Runtime) java(memory int) []string {
	root := path.Join(RuntimeRoot, "java")
	return []string{r.executable, "-XX:Flags=" + root + "/flags", "-XX:MaxHeapSize=" + strconv.Itoa(min(memory*85/100, memory-64)) + "m",
		"-Dfile.encoding=UTF-8", "-cp", r.bootstrap, "hansom.runtime.Main", TaskRoot, path.Join(OptRoot, "java/lib")}
}

// parse splits an identifier that Hansom can run into its family and the number that tells versions apart.
func parse(identifier string) (f Family, number int, ok bool) {
	switch identifier {
	case "provided.al2", "provided.al2023":
		return Provided, 0, true
	case hansom.RuntimeHTTP:
		return HTTP, 0, true
	}
	listed := slices.Contains(awsRuntimes[:], identifier)
	for f, l := range languages {
		before, after, _ := strings.Cut(l.form, "%s")
		rest, ok := strings.CutPrefix(identifier, before)
		if listed && f == Java {
			rest = strings.TrimSuffix(rest, ".al2")
		}
		if !ok || !strings.HasSuffix(rest, after) {
			continue
		}
		rest = strings.TrimSuffix(rest, after)
		if number, ok = f.number(rest); ok && f.short(number) == rest {
			return f, number, listed || number > l.newest
		}
	}
	return "", 0, false
}

// nearest picks the interpreter for a number: the same, else the nearest newer, else the nearest older; of equals the one
// found first.
func (c *Catalogue) nearest(f Family, number int) *Interpreter {
	var best *Interpreter
	rank := func(in *Interpreter) int { // smaller is better
		if d := in.number() - number; d >= 0 {
			return d
		}
		return 1<<20 + number - in.number()
	}
	for i := range c.interpreters {
		in := &c.interpreters[i]
		if in.Family == f && (best == nil || rank(in) < rank(best)) {
			best = in
		}
	}
	return best
}

func (c *Catalogue) missing(f Family, identifier string) error {
	l := languages[f]
	why := ""
	for _, s := range c.skipped {
		if s.Family == f {
			why += " " + s.Path + " was not used: " + s.Reason + "."
		}
	}
	return hansom.Errorf(hansom.Invalid, "resolve runtime", "The runtime %s needs %s, which this host does not have. Install it with scripts/setup.sh, or %s, and start Hansom again.%s", identifier, l.name, l.install, why)
}
