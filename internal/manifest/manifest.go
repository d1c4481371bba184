// Package manifest reads hansom.yaml, the short description of an app: parse, validate, resolve. It is strict: what it does
// not know or does not support yet is an error with file, line and column. The keys are listed in docs/reference/manifest.md.
package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// FileName of a manifest in an app's folder.
const FileName = "hansom.yaml"

// Defaults of a function, as AWS Lambda's.
const (
	DefaultMemory  = 128 // MB
	DefaultTimeout = 3 * time.Second
)

// maxSize of a manifest, in bytes.
const maxSize = 256 << 10

// Manifest is a hansom.yaml with its defaults filled in.
type Manifest struct {
	Name      string
	Functions []Function // in the order of the file
	Queues    map[string]ResolvedQueue
	Site      *Site // nil without

	Authorizers map[string]ResolvedAuthorizer
	CORS        *ResolvedCORS // nil is none
	Domains     []string      // hosts at which the app answers beside its own
	OpenAPI     *ResolvedOpenAPI
}

// Function is one entry of functions.
type Function struct {
	Key         string
	Runtime     string // as written: "nodejs22.x", "python3.11", "go", "provided.al2023", "http"
	Code        string // folder, file or zip, relative to the manifest, in slash form
	Handler     string // "bootstrap" where the runtime has none, and for http unless it is written
	Memory      int    // MB
	Timeout     time.Duration
	Concurrency int    // invocations at once in one instance; 0 is the runtime's default
	Provisioned int    // invocations at once for which instances are kept ready
	Ready       string // path that tells when an http function is ready
	Egress      string // "none", "platform" or "internet"; "" is the default of the project or the server
	Environment map[string]string
	HTTP        []ResolvedRoute
	Layers      []string // "name:version" or the ARN of one; later ones are laid over earlier ones
	Queue       []ResolvedMapping
	NATS        []ResolvedMapping
	Async       *ResolvedAsync // nil when it is not written
	On          []ResolvedEvent
	Schedule    []ResolvedSchedule
}

// Error is one fault of a manifest.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // counted from 1
	Column  int    `json:"column"` // counted from 1, in characters
	Message string `json:"message"`
	Source  string `json:"-"` // the line
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors are the faults of one manifest, in the order of the file.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Load parses the manifest of the folder dir. Faults of its content, and code that is not there, are Errors; a missing file is NotFound.
func Load(dir string) (*Manifest, error) {
	file := filepath.Join(dir, FileName)
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxSize {
		return nil, hansom.Errorf(hansom.Invalid, "load manifest", "%s has %d bytes; the limit is %d", file, info.Size(), maxSize)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if other := filepath.Join(dir, "hansom.yml"); exists(other) {
			return nil, hansom.Errorf(hansom.NotFound, "load manifest", "the manifest is called %s; rename %s", FileName, other)
		}
		return nil, hansom.Errorf(hansom.NotFound, "load manifest", "no %s in %s; `hansom init` makes one", FileName, dir)
	}
	if err != nil {
		return nil, hansom.Errorf(hansom.Invalid, "load manifest", "%w", err)
	}
	return (&reader{file: file, dir: dir}).read(data)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}
