package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
)

var update = flag.Bool("update", false, "write what Parse answers to testdata; review it")

// cases calls f with each YAML file of a folder of testdata and compares what it returns with the file beside it.
func cases(t *testing.T, dir, ext string, f func(t *testing.T, data []byte) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := f(t, data)
			expected := strings.TrimSuffix(file, ".yaml") + ext
			if *update {
				if err := os.WriteFile(expected, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGood(t *testing.T) {
	cases(t, "good", ".json", func(t *testing.T, data []byte) string {
		m, err := Parse("hansom.yaml", data)
		if err != nil {
			t.Fatal(err)
		}
		digests := map[string]string{}
		for _, f := range m.Functions {
			digests[f.Key] = strings.Repeat("a", 64)
		}
		if m.Site != nil {
			m.Site.SHA256, m.Site.Files, m.Site.Bytes = strings.Repeat("b", 64), 2, 30
		}
		r, err := m.Resolve(digests)
		if err != nil {
			t.Fatal(err)
		}
		out, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeResolved(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("its own JSON is refused: %v", err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Error(diff)
		}
		return string(out) + "\n"
	})
}

func TestBad(t *testing.T) {
	cases(t, "bad", ".txt", func(t *testing.T, data []byte) string {
		_, err := Parse("hansom.yaml", data)
		var faults Errors
		if !errors.As(err, &faults) {
			t.Fatalf("%v is not Errors", err)
		}
		return err.Error() + "\n"
	})
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); hansom.KindOf(err) != hansom.NotFound || !strings.Contains(err.Error(), "hansom init") {
		t.Errorf("without a manifest: %v", err)
	}
	file := filepath.Join(dir, FileName)
	if err := os.WriteFile(file, bytes.Repeat([]byte("#"), maxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("too big: %v", err)
	}
	if err := os.WriteFile(file, []byte("name: a\nfunctions: {b: {runtime: go, code: .}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := Load(dir); err != nil || m.Name != "a" || len(m.Functions) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestDecodeResolvedRefuses(t *testing.T) {
	const digest = `"codeSha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`
	function := func(s string) string { return `{"name":"a","functions":{"b":{` + s + `}}}` }
	queued := func(queue, queues string) string {
		return `{"name":"a","functions":{"b":{"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"queue":[` + queue + `],` + digest + `}},"queues":{` + queues + `}}`
	}
	for name, c := range map[string]struct{ in, want string }{
		"not JSON":      {`{`, "not valid JSON"},
		"unknown field": {`{"name":"a","database":{}}`, `unknown field "database"`},
		"site":          {`{"name":"a","site":{"sha256":"x","files":1}}`, "site: sha256"},
		"empty site":    {`{"name":"a","site":{"sha256":"` + strings.Repeat("a", 64) + `"}}`, "no site"},
		"trailing":      {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,`+digest) + "{}", "followed by something else"},
		"no functions":  {`{"name":"a"}`, "functions is empty"},
		"name":          {`{"name":"../a","functions":{}}`, "must be 1 to 40"},
		"go":            {function(`"runtime":"go","handler":"bootstrap","memory":128,"timeout":3,` + digest), "must be built"},
		"digest":        {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"codeSha256":"A"`), "64 hexadecimal digits"},
		"memory":        {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":1,"timeout":3,` + digest), "memory 1 is out of range"},
		"timeout":       {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":18446744074,` + digest), "out of range"},
		"environment":   {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"environment":{"AWS_REGION":"x"},` + digest), "set by the platform"},
		"route":         {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"http":["GET x"],` + digest), "must be a method and a path"},
		"queue's key":   {queued("", `"-":{"visibility":30,"retention":60}`), "must be 1 to 40"},
		"retention":     {queued("", `"q":{"visibility":30}`), "retention 0s is out of range"},
		"overflow":      {queued("", `"q":{"visibility":9223372036,"retention":60}`), "out of range"},
		"dead letters":  {queued("", `"q":{"visibility":30,"retention":60,"deadLetter":"d"}`), `queues.q: deadLetter "d" is no queue of the app`},
		"kinds":         {queued("", `"q":{"visibility":30,"retention":60,"deadLetter":"d"},"d":{"fifo":true,"visibility":30,"retention":60}`), "must be fifo"},
		"dedup":         {queued("", `"q":{"visibility":30,"retention":60,"contentDedup":true}`), "fifo: true"},
		"no queue":      {queued(`{"name":"q","batch":1}`, ""), `functions.b: queue q: "q" is no queue`},
		"twice":         {queued(`{"name":"q","batch":1},{"name":"q","batch":1}`, `"q":{"visibility":30,"retention":60}`), "q twice"},
		"batch":         {queued(`{"name":"q"}`, `"q":{"visibility":30,"retention":60}`), "batch 0 is out of range"},
		"filter":        {queued(`{"name":"q","batch":1,"filter":["x"]}`, `"q":{"visibility":30,"retention":60}`), "must be a pattern"},
		"async":         {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"async":{"retries":0,"maxAge":1},` + digest), "async: maxAge 1s is out of range"},
		"destination":   {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"async":{"retries":0,"maxAge":60,"onFailure":"x"},` + digest), `async: onFailure "x" is no queue`},
		"dead letter":   {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"async":{"retries":0,"maxAge":60,"deadLetter":"x"},` + digest), `async: deadLetter "x" is no queue of the app`},
		"seen twice":    {queued(`{"name":"q","batch":1}`, `"q":{"visibility":2,"retention":60}`), "less than the function's timeout"},
		"authorizer":    {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"http":[{"route":"GET /","authorizer":"x"}],` + digest), `functions.b: http "GET /": authorizer "x" is not in authorizers`},
		"route's key":   {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"http":[{"route":"GET /","auth":"x"}],` + digest), `unknown field "auth"`},
		"throttle":      {function(`"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"http":[{"route":"GET /","throttle":{"rate":1,"burst":1,"per":"x"}}],` + digest), `per "x" must be`},
		"two in one":    {`{"name":"a","functions":{"b":{"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,` + digest + `}},"authorizers":{"x":{"iam":true,"function":"b"}}}`, "authorizers.x: an authorizer has one of"},
		"who is asked":  {`{"name":"a","functions":{"b":{"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,` + digest + `}},"authorizers":{"x":{"function":"c"}}}`, `authorizers.x: function "c" is no function`},
		"domain":        {`{"name":"a","functions":{"b":{"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,` + digest + `}},"domains":["-"]}`, `domain "-" must be`},
		"document":      {`{"name":"a","functions":{"b":{"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,` + digest + `}},"openapi":{"file":"x","document":" "}}`, "openapi: x is empty"},
		"CORS":          {`{"name":"a","functions":{"b":{"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,` + digest + `}},"cors":{"origins":["x"]}}`, `origin "x" must be`},
		"handler":       {function(`"runtime":"nodejs22.x","handler":"x","memory":128,"timeout":3,` + digest), "file.function"},
	} {
		_, err := DecodeResolved(strings.NewReader(c.in))
		if hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestRoutes(t *testing.T) {
	r := &Resolved{Name: "app", Functions: map[string]ResolvedFunction{
		"b": {HTTP: []ResolvedRoute{{Route: "GET /b"}}},
		"a": {HTTP: []ResolvedRoute{{Route: "POST /a/{id}"}, {Route: "ANY /{rest+}"}}},
	}}
	want := []hansom.Route{
		{App: "app", Method: "POST", Path: "/a/{id}", Function: "app-a"},
		{App: "app", Method: "ANY", Path: "/{rest+}", Function: "app-a"},
		{App: "app", Method: "GET", Path: "/b", Function: "app-b"},
	}
	if got := r.Routes(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// FuzzParse: whatever the file, Parse answers with a manifest that resolves, or with faults inside the file.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse("hansom.yaml", data)
		if err != nil {
			var faults Errors
			if !errors.As(err, &faults) {
				t.Fatalf("%v is not Errors", err)
			}
			for _, e := range faults {
				if e.Line < 1 || e.Column < 1 || e.Message == "" {
					t.Errorf("fault without a place or message: %+v", e)
				}
			}
			return
		}
		digests := map[string]string{}
		for _, fn := range m.Functions {
			digests[fn.Key] = strings.Repeat("0", 64)
		}
		if m.Site != nil {
			m.Site.SHA256, m.Site.Files = strings.Repeat("0", 64), 1
		}
		if _, err := m.Resolve(digests); err != nil {
			t.Errorf("accepted, but does not resolve: %v", err)
		}
	})
}

// FuzzDecodeResolved: what is accepted is accepted again from its own JSON.
func FuzzDecodeResolved(f *testing.F) {
	f.Add([]byte(`{"name":"a","functions":{"b":{"runtime":"provided.al2023","handler":"bootstrap","memory":128,"timeout":3,"codeSha256":"` + strings.Repeat("a", 64) + `","http":["GET /{id}"],"environment":{"AB":"c"}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeResolved(bytes.NewReader(data))
		if err != nil {
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeResolved(bytes.NewReader(out)); err != nil {
			t.Errorf("%s: %v", out, err)
		}
	})
}

func TestLoadMissingCode(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("name: a\nfunctions:\n  b: {runtime: go, code: ./nope}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(dir)
	faults, ok := errors.AsType[Errors](err)
	if !ok || len(faults) != 1 || faults[0].Line != 3 || faults[0].Column != 26 || !strings.Contains(faults[0].Message, "there is no ./nope") {
		t.Errorf("Load says %v", err)
	}
}

func TestLoadOpenAPI(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(FileName, "name: a\nopenapi: ./api.yaml\nfunctions: {b: {runtime: go, code: .}}\n")
	refused := func(want string) {
		t.Helper()
		_, err := Load(dir)
		faults, ok := errors.AsType[Errors](err)
		if !ok || len(faults) != 1 || faults[0].Line != 2 || faults[0].Column != 10 || !strings.Contains(faults[0].Message, want) {
			t.Errorf("Load says %v, want %q", err, want)
		}
	}
	refused("there is no file ./api.yaml beside the manifest")
	write("api.yaml", " \n")
	refused("api.yaml is empty")
	write("api.yaml", strings.Repeat("#", maxOpenAPI+1))
	refused("the limit is")
	write("api.yaml", "openapi: 3.0.1\n")
	m, err := Load(dir)
	if err != nil || *m.OpenAPI != (ResolvedOpenAPI{"api.yaml", "openapi: 3.0.1\n"}) {
		t.Errorf("%+v, %v", m, err)
	}
	r, err := m.Resolve(map[string]string{"b": strings.Repeat("a", 64)})
	if err != nil || *r.OpenAPI != *m.OpenAPI {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestLoadOtherName(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hansom.yml"), []byte("name: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "rename "+filepath.Join(dir, "hansom.yml")) {
		t.Errorf("Load says %v", err)
	}
}
