package mapping

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/hansomcloud/hansom"
)

// cases runs those of a folder.
func cases(t *testing.T, dir string, run func(t *testing.T, file func(name string) string)) {
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, p := range paths {
		a, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(p), ".txtar"), func(t *testing.T) {
			run(t, func(name string) string {
				for _, f := range a.Files {
					if f.Name == name {
						return strings.TrimSuffix(string(f.Data), "\n")
					}
				}
				t.Fatalf("no file %s", name)
				return ""
			})
		})
	}
}

func parameters(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " =")
		m[key] = strings.TrimPrefix(value, " ")
	}
	return m
}

// input has the parameter petId, the last segment of the path, and the stage variable colour.
func input(r *http.Request, body string) *Input {
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	id := raw[strings.LastIndexByte(raw, '/')+1:]
	known := func(want, value string) func(string) (string, bool) {
		return func(name string) (string, bool) { return value, name == want }
	}
	return &Input{
		Request: r, Path: strings.TrimPrefix(raw, "/prod"), Param: known("petId", strings.ReplaceAll(id, "%2F", "/")), Raw: known("petId", id),
		Body: func() []byte { return []byte(body) }, Stage: map[string]string{"colour": "blue"},
		Context: func(name string) (string, bool) {
			v, ok := map[string]string{"requestId": "ID-1", "identity.sourceIp": "192.0.2.1"}[name]
			return v, ok
		},
	}
}

func lines(h http.Header) (text []string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			text = append(text, name+": "+v)
		}
	}
	return text
}

func TestRequests(t *testing.T) {
	cases(t, "request", func(t *testing.T, file func(string) string) {
		head, body, _ := strings.Cut(file("request"), "\n\n")
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprint(r.Header, r.URL)
		m, err := ParseRequest(parameters(file("mapping")))
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Contains(file("mapping"), "request.body"); m.NeedsBody() != want {
			t.Errorf("needs the body: %v", m.NeedsBody())
		}
		out, path := m.Apply(input(r, body), r)
		got := []string{out.Method + " " + out.URL.RequestURI()}
		if path != "" {
			got = append(got, "path: "+path)
		}
		got = append(got, lines(out.Header)...)
		if d := cmp.Diff(file("out"), strings.Join(got, "\n")); d != "" {
			t.Error(d)
		}
		if fmt.Sprint(r.Header, r.URL) != before {
			t.Error("the request itself was changed")
		}
	})
}

func TestResponses(t *testing.T) {
	cases(t, "response", func(t *testing.T, file func(string) string) {
		status, rest, _ := strings.Cut(file("answer"), "\n")
		head, body, _ := strings.Cut(rest, "\n\n")
		if strings.HasPrefix(rest, "\n") {
			head, body = "", rest[1:]
		}
		header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimSpace(head) + "\r\n\r\n"))).ReadMIMEHeader()
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		m, err := ParseResponse(parameters(file("mapping")))
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Contains(file("mapping"), "response.body"); m.NeedsBody() != want {
			t.Errorf("needs the body: %v", m.NeedsBody())
		}
		in := input(&http.Request{RequestURI: "/"}, "")
		in.Answer = func() []byte { return []byte(body) }
		code := 0
		fmt.Sscan(status, &code)
		code = m.Apply(in, http.Header(header), code)
		if d := cmp.Diff(file("out"), strings.Join(append([]string{fmt.Sprint(code)}, lines(http.Header(header))...), "\n")); d != "" {
			t.Error(d)
		}
	})
}

func TestRefused(t *testing.T) {
	data, err := os.ReadFile("testdata/refused.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if line[0] == '#' {
			continue
		}
		f := strings.Split(line, "|")
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		of, key, value, says := f[0], f[1], f[2], f[3]
		m := map[string]string{key: value}
		if of == "request" {
			err = Validate(m, nil)
		} else {
			err = Validate(nil, map[string]map[string]string{"200": m})
		}
		if hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%s %s = %q: %v", of, key, value, err)
		}
	}
	for status, ok := range map[string]bool{"200": true, "599": true, "199": false, "600": false, "2XX": false, "default": false, "+200": false, "0200": false} {
		if err := Validate(nil, map[string]map[string]string{status: {"overwrite:header.x": "y"}}); (err == nil) != ok {
			t.Errorf("status %s: %v", status, err)
		}
	}
	var none *Request
	r := &http.Request{}
	if out, path := none.Apply(nil, r); out != r || path != "" || none.NeedsBody() {
		t.Error("no mapping changes something")
	}
}

// A mapping that is accepted never makes a header that ends early, whatever comes.
func FuzzRequest(f *testing.F) {
	f.Add("overwrite:header.x", "${request.header.a}-${request.body.a[0].b}", "a\r\nb", `{"a":[{"b":"\n"}]}`)
	f.Add("append:querystring.q", "$request.querystring.a", "1", "")
	f.Add("overwrite:path", "/${request.path.petId}/${context.requestId}", "..", "")
	f.Add("remove:header.y", "", "", "")
	f.Fuzz(func(t *testing.T, key, value, in, body string) {
		m, err := ParseRequest(map[string]string{key: value})
		if err != nil {
			return
		}
		r, err := http.NewRequest("POST", "http://h/a/b?a=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RequestURI = "/a/b?a=1"
		r.Header["A"] = []string{in}
		out, path := m.Apply(input(r, body), r)
		for name, values := range out.Header {
			for _, v := range values {
				if name != "A" && strings.ContainsAny(v, "\r\n\x00") || Reserved(name) {
					t.Errorf("%s: %q", name, v)
				}
			}
		}
		if path != "" && path[0] != '/' {
			t.Errorf("path %q", path)
		}
	})
}
