package site

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/hansomcloud/hansom"
)

// get sends a request with headers "Name: value".
func (f *fixture) get(t testing.TB, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	h := f.Service.Site(project, "pages")
	if h == nil {
		t.Fatal("the app has no site")
	}
	return serve(t, h, method, target, headers...)
}

func serve(t testing.TB, h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "/", nil)
	r.RequestURI = target
	if u, err := url.ParseRequestURI(target); err == nil {
		r.URL = u
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestServe runs testdata/serve/*.txtar. A case has the files of a site, in the comment above them its options, and in the file REQUESTS
// requests with what is answered:
//
//	> GET /path                the request
//	> Name: value              a header of it; {etag} is the ETag of the answer before
//	< 200                      its status
//	< Name: value              a header of the answer
//	< !Name                    one that it has not
//	= text                     a line of its body; without any the body is not looked at
func TestServe(t *testing.T) {
	files, err := filepath.Glob("testdata/serve/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			a := txtar.Parse(text)
			site := map[string]string{}
			requests := ""
			for _, f := range a.Files {
				data := string(f.Data)
				if f.Name == "REQUESTS" {
					requests = data
					continue
				}
				if n := 0; strings.HasPrefix(data, "REPEAT ") { // REPEAT 100 text
					var line string
					if _, err := fmt.Sscanf(data, "REPEAT %d %s", &n, &line); err != nil {
						t.Fatal(err)
					}
					data = strings.Repeat(line, n)
				}
				site[f.Name] = data
			}
			f := newFixture(t)
			f.deploy(t, 3, site, func(s *hansom.Site) {
				s.SPA = bytes.Contains(a.Comment, []byte("spa: true"))
				s.CleanURLs = !bytes.Contains(a.Comment, []byte("cleanUrls: false"))
			})
			f.run(t, requests)
		})
	}
}

// run sends requests and looks at their answers.
func (f *fixture) run(t *testing.T, script string) {
	t.Helper()
	var request, headers, body []string
	var expected []string
	var line, asked int
	etag := ""
	end := func() {
		if len(request) == 0 {
			return
		}
		what := fmt.Sprintf("line %d: %s %s %v", asked, request[0], request[1], headers)
		for i := range headers {
			headers[i] = strings.ReplaceAll(headers[i], "{etag}", etag)
		}
		w := f.get(t, request[0], request[1], headers...)
		etag = w.Header().Get("Etag")
		if len(expected) == 0 {
			t.Fatalf("%s: nothing is expected", what)
		}
		for _, e := range expected {
			switch name, value, isHeader := strings.Cut(e, ": "); {
			case strings.HasPrefix(e, "!"):
				if got := w.Header().Values(e[1:]); got != nil {
					t.Errorf("%s: %s is %q, want none", what, e[1:], got)
				}
			case isHeader:
				if got := strings.Join(w.Header().Values(name), ", "); got != value {
					t.Errorf("%s: %s is %q, want %q", what, name, got, value)
				}
			case fmt.Sprint(w.Code) != e:
				t.Errorf("%s: %d, want %s; Location %q", what, w.Code, e, w.Header().Get("Location"))
			}
		}
		if body != nil {
			got := strings.TrimSuffix(strings.ReplaceAll(w.Body.String(), "\r\n", "\n"), "\n")
			if want := strings.Join(body, "\n"); got != want {
				t.Errorf("%s: the body is %.300q, want %q", what, got, want)
			}
		}
		request, headers, body, expected = nil, nil, nil, nil
	}
	for text := range strings.Lines(script) {
		line++
		text = strings.TrimSuffix(text, "\n")
		mark, rest, _ := strings.Cut(text, " ")
		switch {
		case mark == ">" && (expected != nil || request == nil):
			end()
			method, target, ok := strings.Cut(rest, " ")
			if !ok {
				t.Fatalf("line %d: %q is no request", line, text)
			}
			request, asked = []string{method, target}, line
		case mark == ">":
			headers = append(headers, rest)
		case mark == "<":
			expected = append(expected, rest)
		case mark == "=":
			body = append(body, rest)
		case text == "" || mark == "#":
		default:
			t.Fatalf("line %d: %q", line, text)
		}
	}
	end()
}
