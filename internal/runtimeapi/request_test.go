package runtimeapi

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// TestHeads runs testdata/heads: a request head each, "\n" for CRLF, and after "---" what must come of it.
func TestHeads(t *testing.T) {
	files, err := filepath.Glob("testdata/heads/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, want, _ := strings.Cut(string(data), "---\n")
			text = strings.NewReplacer("\n", "\r\n", "\\0", "\x00", "\\n", "\n").Replace(text)
			for name, r := range map[string]io.Reader{"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text))} {
				s := source{r: r}
				h, err := s.readHead()
				if got := describe(h, err); got != want {
					t.Errorf("%s:\n got %swant %s", name, got, want)
				}
				s.drop()
			}
		})
	}
}

func describe(h head, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	out := h.method
	if out == "" {
		out = "other"
	}
	out += " " + [...]string{"unknown", "next", "response", "error", "init/error",
		"register", "event/next", "extension/init/error", "extension/exit/error", "telemetry", "logs"}[h.route]
	if h.id != "" {
		out += " id=" + h.id
	}
	if h.length > 0 {
		out += " body"
	}
	for name, on := range map[string]bool{"chunked": h.chunked} {
		if on {
			out += " " + name
		}
	}
	if h.expects {
		out += " expects"
	}
	if h.closes {
		out += " closes"
	}
	if h.contentType != "" {
		out += " type=" + h.contentType
	}
	if h.mode != "" {
		out += " mode=" + h.mode
	}
	if h.errorType != "" {
		out += " errortype=" + h.errorType
	}
	for _, field := range [][2]string{{"name", h.name}, {"extension", h.extension}, {"features", h.features}, {"extensionerror", h.extensionError}} {
		if field[1] != "" {
			out += " " + field[0] + "=" + field[1]
		}
	}
	return out + "\n"
}

func readBody(s *source, h *head) (string, *body, error) {
	b := newBody(s, h)
	var got bytes.Buffer
	for {
		p, err := b.next()
		if err == io.EOF {
			return got.String(), &b, nil
		}
		if err != nil {
			return got.String(), &b, err
		}
		got.Write(p)
	}
}

func TestBodies(t *testing.T) {
	long := strings.Repeat("0123456789", 30_000)
	for name, c := range map[string]struct {
		head      head
		in        string
		body      string
		rest      string
		errorType string
		fails     bool
	}{
		"none":                {head{}, "NEXT", "", "NEXT", "", false},
		"length":              {head{length: 5}, "helloNEXT", "hello", "NEXT", "", false},
		"long":                {head{length: 300_000}, long + "NEXT", long, "NEXT", "", false},
		"cut":                 {head{length: 5}, "hell", "hell", "", "", true},
		"chunked":             {head{chunked: true}, "3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\nNEXT", "abc0123456789", "NEXT", "", false},
		"long chunk":          {head{chunked: true}, "493e0\r\n" + long + "\r\n0\r\n\r\n", long, "", "", false},
		"trailers":            {head{chunked: true}, "1\r\na\r\n0\r\nLambda-Runtime-Function-Error-Type: T\r\nOther: x\r\n\r\n", "a", "", "T", false},
		"no size":             {head{chunked: true}, "\r\nabc\r\n", "", "", "", true},
		"negative":            {head{chunked: true}, "-1\r\na\r\n", "", "", "", true},
		"size of 9 digits":    {head{chunked: true}, "000000001\r\na\r\n0\r\n\r\n", "", "", "", true},
		"chunk longer":        {head{chunked: true}, "1\r\nabc\r\n0\r\n\r\n", "a", "", "", true},
		"bare line feeds":     {head{chunked: true}, "1\na\n0\n\n", "", "", "", true},
		"endless extension":   {head{chunked: true}, "1;" + long + "\r\na\r\n0\r\n\r\n", "", "", "", true},
		"endless trailers":    {head{chunked: true}, "0\r\n" + strings.Repeat("A: "+long+"\r\n", 5) + "\r\n", "", "", "", true},
		"trailer not a field": {head{chunked: true}, "0\r\nnonsense\r\n\r\n", "", "", "", true},
		"no last chunk":       {head{chunked: true}, "1\r\na\r\n", "a", "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
				s := source{r: r}
				got, b, err := readBody(&s, &c.head)
				if (err != nil) != c.fails || got != c.body || b.errorType != c.errorType {
					t.Errorf("%.40q (%d bytes), %v, error type %q", got, len(got), err, b.errorType)
				}
				if c.fails {
					continue
				}
				rest, _ := io.ReadAll(io.MultiReader(bytes.NewReader(s.unread()), r))
				if string(rest) != c.rest {
					t.Errorf("rest %.40q, want %q", rest, c.rest)
				}
			}
		})
	}
}

func TestEndlessHead(t *testing.T) {
	s := source{r: io.MultiReader(strings.NewReader("GET / HTTP/1.1\r\nA: "), endless{})}
	if _, err := s.readHead(); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("readHead = %v", err)
	}
	if n := len(s.unread()); n > 2*maxHead {
		t.Errorf("%d bytes were read", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /2018-06-01/runtime/invocation/id/response HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
		"POST /2018-06-01/runtime/invocation/id/error?x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1\r\na\r\n0\r\nLambda-Runtime-Function-Error-Body: e30=\r\n\r\nGET",
		"PUT /2022-07-01/telemetry HTTP/1.1\r\nLambda-Extension-Identifier: 6f7f0961-f834-4211-8a7a-f6fe80b88d56\r\nContent-Length: 2\r\n\r\n{}",
		"POST /2020-01-01/extension/register HTTP/1.1\r\nLambda-Extension-Name: a\r\nLambda-Extension-Accept-Feature: accountId\r\nContent-Length: 2\r\n\r\n{}",
		"POST http://h/2018-06-01/runtime/init/error HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// However the bytes come in, the same is read.
		var results [2]string
		for i, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data))} {
			s := source{r: r}
			h, err := s.readHead()
			results[i] = describe(h, err)
			if err == nil {
				body, _, err := readBody(&s, &h)
				results[i] += body
				if !h.chunked && err == nil && int64(len(body)) != h.length {
					t.Errorf("a body of %d bytes of %d", len(body), h.length)
				}
				if len(body) > len(data) {
					t.Errorf("a body of %d bytes from %d", len(body), len(data))
				}
				if err != nil {
					results[i] += err.Error()
				}
			} else if _, ok := errors.AsType[*badRequest](err); !ok && err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Errorf("readHead = %v", err)
			}
		}
		if results[0] != results[1] {
			t.Errorf("read at once\n%s\nread byte by byte\n%s", results[0], results[1])
		}
	})
}
