package runtimes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/hansomcloud/hansom/internal/frame"
)

// TestNode and TestPython run the cases below testdata on every interpreter of this machine. A case is a txtar archive: the
// function's files, and a script of what is sent and what comes back:
//
//	from NUMBER, until NUMBER   only for these versions: of Node.js the major, of Python 3 the minor
//	env NAME=VALUE              to be set by INIT
//	init HANDLER                sends INIT
//	trace TEXT, context JSON, identity JSON, timeout MILLISECONDS    of the next invoke
//	invoke JSON                 sends INVOKE; the streams count from 1, and the request ids are id-1, id-2, ...
//	ping, stop, cancel STREAM, window STREAM BYTES
//	< KIND STREAM BODY          the next frame, e.g. "< RESULT 1 json {}", "< ERROR+init+fatal 0 ...". Chunks may come in pieces.
//	exit CODE                   no more frames come and the process ends; -1 for a signal
//	output REGEXP               what it printed, after exit
//
// BODY is nothing, "= TEXT" (a Go string when it begins with a quote), "~ REGEXP" or "json VALUE", in which strings that begin
// with ~ are regular expressions and a last "..." in an array stands for any number of elements.
// $TASK is the function's folder, $TIME what a time looks like.
func TestNode(t *testing.T) {
	each(t, Node, func(t *testing.T, r *Runtime) { cases(t, r, "testdata/node", Blank) })
}
func TestPython(t *testing.T) {
	each(t, Python, func(t *testing.T, r *Runtime) { cases(t, r, "testdata/python", Blank) })
}

const timePattern = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`

// cases runs each as a function that is known when its runtime boots, and as one that is not.
func cases(t *testing.T, r *Runtime, dir string, blank ...string) {
	t.Run("known", func(t *testing.T) { runCases(t, r, dir, nil) })
	if len(blank) > 0 {
		t.Run("blank", func(t *testing.T) { runCases(t, r, dir, blank) })
	}
}

func runCases(t *testing.T, r *Runtime, dir string, boot []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := &scripted{t: t, r: r, root: t.TempDir(), boot: boot}
			var script string
			for _, f := range archive.Files {
				if f.Name == "script" {
					script = string(f.Data)
					continue
				}
				name := filepath.Join(c.root, filepath.FromSlash(f.Name))
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for n, line := range strings.Split(script, "\n") {
				if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
					continue
				}
				if err := c.do(line); err != nil {
					t.Fatalf("line %d of the script, %q: %v", n+1, line, err)
				}
			}
		})
	}
}

type scripted struct {
	t    *testing.T
	r    *Runtime
	p    *process
	root string
	boot []string // environment to boot with
	env  []string
	call call
}

func (c *scripted) do(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	number, _ := c.r.Family.number(c.r.HostVersion)
	args := strings.Fields(rest)
	n := 0
	if len(args) > 0 {
		n, _ = strconv.Atoi(args[0])
	}
	switch verb {
	case "from", "until":
		if (verb == "from") == (number < n) && number != n {
			c.t.Skipf("%s %d", verb, n)
		}
	case "env":
		c.env = append(c.env, strings.ReplaceAll(rest, "$TASK", c.root))
	case "init":
		c.p = start(c.t, c.r, 128, c.boot...)
		c.p.boot(c.r)
		c.p.init(c.r.Identifier, rest, c.root, c.env...)
	case "trace":
		c.call.trace = rest
	case "timeout":
		c.call.timeout = time.Duration(n) * time.Millisecond
	case "context":
		c.call.clientContext = rest
	case "identity":
		c.call.identity = rest
	case "invoke":
		c.p.invoke([]byte(rest), c.call)
		c.call = call{}
	case "ping":
		c.p.send(frame.Header{Kind: frame.Ping, Stream: 7}, nil)
	case "stop":
		c.p.send(frame.Header{Kind: frame.Stop}, nil)
	case "cancel":
		c.p.send(frame.Header{Kind: frame.Cancel, Stream: uint64(n)}, nil)
	case "window":
		bytes, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		c.p.send(frame.Header{Kind: frame.Window, Stream: uint64(n)}, window(uint32(bytes)))
	case "<":
		return c.expect(rest)
	case "exit":
		if h, body, err := c.p.receive(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("frame %+v %q, error %v", h, body, err)
		}
		if code := c.p.wait(); code != n {
			return fmt.Errorf("exit code %d; it printed: %s", code, c.p.output.String())
		}
	case "output":
		if !c.pattern(rest).Match(c.p.output.Bytes()) {
			return fmt.Errorf("it printed %q", c.p.output.String())
		}
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

var kinds = map[string]frame.Kind{"READY": frame.Ready, "RESULT": frame.Result, "ERROR": frame.Error, "CHUNK": frame.Chunk, "END": frame.End, "LOG": frame.Log, "PING": frame.Ping}

func (c *scripted) expect(spec string) error {
	f := strings.SplitN(spec, " ", 4)
	names := strings.Split(f[0], "+")
	want := frame.Header{Kind: kinds[names[0]]}
	for _, flag := range names[1:] {
		want.Flags |= map[string]uint8{"init": frame.FlagInit, "stream": frame.FlagStream, "error": frame.FlagError, "fatal": frame.FlagFatal}[flag]
	}
	f = append(f, "", "")
	stream, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return err
	}
	want.Stream = stream
	h, body := c.p.next()
	want.Length = h.Length
	if h != want {
		return fmt.Errorf("got %+v %q", h, body)
	}
	if f[2] == "=" && h.Kind == frame.Chunk {
		wanted, err := c.unquoted(f[3])
		if err != nil {
			return err
		}
		for len(body) < len(wanted) && strings.HasPrefix(wanted, string(body)) {
			more, next := c.p.next()
			if more.Kind != frame.Chunk {
				return fmt.Errorf("got %+v %q after %q", more, next, body)
			}
			body = append(body, next...)
		}
	}
	return c.compare(f[2], f[3], body)
}

func (c *scripted) unquoted(text string) (string, error) {
	if strings.HasPrefix(text, `"`) {
		var err error
		if text, err = strconv.Unquote(text); err != nil {
			return "", err
		}
	}
	return strings.ReplaceAll(text, "$TASK", c.root), nil
}

// compare compares a body in one of the ways of a BODY.
func (c *scripted) compare(how, text string, body []byte) error {
	switch how {
	case "":
		if len(body) != 0 {
			return fmt.Errorf("got body %q", body)
		}
	case "=":
		wanted, err := c.unquoted(text)
		if err != nil {
			return err
		}
		if string(body) != wanted {
			return fmt.Errorf("got %q", body)
		}
	case "~":
		if !c.pattern(text).Match(body) {
			return fmt.Errorf("got %q", body)
		}
	case "json":
		var wanted, got any
		if err := decode([]byte(text), &wanted); err != nil {
			return err
		}
		if err := decode(body, &got); err != nil {
			return fmt.Errorf("%q: %w", body, err)
		}
		if err := c.match(wanted, got); err != nil {
			return fmt.Errorf("%w in %s", err, body)
		}
	default:
		return fmt.Errorf("no such comparison")
	}
	return nil
}

func decode(b []byte, v *any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}

func (c *scripted) pattern(s string) *regexp.Regexp {
	s = strings.ReplaceAll(s, "$TASK", regexp.QuoteMeta(c.root))
	return regexp.MustCompile(strings.ReplaceAll(s, "$TIME", timePattern))
}

func (c *scripted) match(want, got any) error {
	switch w := want.(type) {
	case string:
		g, ok := got.(string)
		if rest, pattern := strings.CutPrefix(w, "~"); ok && pattern {
			if !c.pattern(rest).MatchString(g) {
				return fmt.Errorf("%q does not match %s", g, rest)
			}
			return nil
		}
		if w = strings.ReplaceAll(w, "$TASK", c.root); !ok || g != w {
			return fmt.Errorf("%v is not %q", got, w)
		}
		return nil
	case []any:
		g, ok := got.([]any)
		if n := len(w) - 1; ok && n >= 0 && w[n] == "..." {
			w, g = w[:n], g[:min(n, len(g))]
		}
		if !ok || len(g) != len(w) {
			return fmt.Errorf("%v is not %v", got, want)
		}
		for i := range w {
			if err := c.match(w[i], g[i]); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is not %v", got, want)
		}
		for _, m := range []map[string]any{w, g} {
			for k := range m {
				_, inW := w[k]
				_, inG := g[k]
				if !inW || !inG {
					return fmt.Errorf("key %q: wanted %v, is there %v", k, inW, inG)
				}
			}
		}
		for k := range w {
			if err := c.match(w[k], g[k]); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
		return nil
	}
	if want != got {
		return fmt.Errorf("%v is not %v", got, want)
	}
	return nil
}
