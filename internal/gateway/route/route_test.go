package route

import (
	"os"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

// text is what a request came to, as the cases have it.
func text(r *Router, i int, params []Param) string {
	if i < 0 {
		return "-"
	}
	s := r.Key(i)
	for _, p := range params {
		s += " " + p.Name + "=" + p.Value
	}
	return s
}

func TestCases(t *testing.T) {
	data, err := os.ReadFile("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	var r *Router
	asked := 0
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			keys, r = nil, nil
			continue
		}
		if key, ok := strings.CutPrefix(line, "route "); ok {
			keys = append(keys, key)
			continue
		}
		if r == nil {
			if r, err = New(keys); err != nil {
				t.Fatalf("%v: %v", keys, err)
			}
		}
		request, want, _ := strings.Cut(line, " = ")
		method, path, _ := strings.Cut(request, " ")
		i, params := r.Match(method, path)
		if got := text(r, i, params); got != want {
			t.Errorf("%v: %s is answered by %s, want %s", keys, request, got, want)
		}
		asked++
	}
	if asked < 47 {
		t.Errorf("%d cases were read", asked)
	}
}

func TestKeys(t *testing.T) {
	for _, keys := range [][]string{
		{"GET"}, {"get /a"}, {"GET a"}, {"TRACE /a"}, {"GET /{a"}, {"GET /a{b}"}, {"GET /{a+}/b"}, {"GET /{}"}, {"GET /{+}"}, {"GET /{a}/{a}"}, {"default"}, {""},
		{"GET /a", "GET /a"}, {"GET /{a}", "GET /{b}"}, {"$default", "$default"}, {"ANY /{a+}", "ANY /{b+}"},
	} {
		if _, err := New(keys); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%v: %v", keys, err)
		}
	}
	if _, err := New([]string{"GET /{a}/x", "GET /{b}/y", "GET /{a+}", "ANY /{c}"}); err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	r, err := New([]string{"GET /pets/dog/1", "GET /pets/dog/{id}", "POST /pets/dog/{id}", "ANY /pets/dog/{id}", "ANY /{proxy+}", "$default"})
	if err != nil {
		t.Fatal(err)
	}
	e := r.Explain("GET", "/pets/dog/1")
	var got []string
	for _, c := range e.Candidates {
		got = append(got, c.Key+": "+c.Reason)
	}
	want := []string{
		"GET /pets/dog/1: its method and its path are the request's",
		"GET /pets/dog/{id}: less specific than GET /pets/dog/1",
		"POST /pets/dog/{id}: its method is POST",
		"ANY /pets/dog/{id}: less specific than GET /pets/dog/1",
		"ANY /{proxy+}: less specific than GET /pets/dog/1",
		"$default: less specific than GET /pets/dog/1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if e := r.Explain("GET", "/pets/dog/2"); e.Candidates[2].Reason != "a route for the method goes before ANY" {
		t.Errorf("%+v", e)
	}
	r, _ = New([]string{"POST /a"})
	if e := r.Explain("GET", "/a"); e.Index != -1 || !strings.Contains(e.Reason, "other methods") {
		t.Errorf("%+v", e)
	}
	if e := r.Explain("GET", "/b"); e.Index != -1 || !strings.Contains(e.Reason, "none fits") {
		t.Errorf("%+v", e)
	}
}

// What is explained is what is done.
func FuzzRouter(f *testing.F) {
	f.Add("GET /a/{b}/{c+}\nANY /a/b\n$default", "GET", "/a/b/c/d")
	f.Add("GET /", "GET", "/")
	f.Add("GET /{x}/b\nPOST /a/{y}\nANY /{p+}", "POST", "/a/b%2F")
	f.Fuzz(func(t *testing.T, keys, method, path string) {
		r, err := New(strings.Split(keys, "\n"))
		if err != nil {
			return
		}
		i, params := r.Match(method, path)
		e := r.Explain(method, path)
		if e.Index != i {
			t.Errorf("%s %s: matched %d and explained %d", method, path, i, e.Index)
		}
		for _, c := range e.Candidates {
			if c.Chosen && text(r, i, params) != text(r, c.Index, c.Params) {
				t.Errorf("%s %s: %v and %v", method, path, params, c.Params)
			}
		}
		for _, p := range params {
			if p.Raw == "" || !strings.Contains(path, p.Raw) {
				t.Errorf("%s: parameter %+v", path, p)
			}
		}
	})
}
