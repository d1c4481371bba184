package openapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

var update = flag.Bool("update", false, "write what is expected")

// counter makes IDs that tell in which order things were made.
func counter() func() string {
	n := 0
	return func() string { n++; return "id" + strconv.Itoa(100+n) }
}

// testCase is a file of testdata/import.
type testCase struct {
	archive *txtar.Archive
	doc     []byte
	options Options
}

func readCase(t testing.TB, file string) testCase {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := testCase{archive: archive, options: Options{ID: counter()}}
	for _, f := range archive.Files {
		switch f.Name {
		case "doc.json", "doc.yaml":
			c.doc = f.Data
		case "options.json":
			var o struct {
				Basepath               string
				FailOnWarnings, Strict bool
				Variables              map[string]string
				Authorizers            []api.Authorizer
			}
			if err := json.Unmarshal(f.Data, &o); err != nil {
				t.Fatal(err)
			}
			c.options.Basepath, c.options.FailOnWarnings, c.options.Strict, c.options.Authorizers = o.Basepath, o.FailOnWarnings, o.Strict, o.Authorizers
			c.options.Variable = func(name string) (string, bool) { v, ok := o.Variables[name]; return v, ok }
		}
	}
	return c
}

// outcome is what a case is compared with: the API as JSON, or the error.
func (c *testCase) outcome(t *testing.T) (name, text string) {
	t.Helper()
	a, warnings, err := Import(c.doc, c.options)
	if err != nil {
		if hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("the error is of kind %d, not Invalid", hansom.KindOf(err))
		}
		var faults *Faults
		if !errors.As(err, &faults) || len(faults.List) == 0 {
			t.Errorf("the error names no faults: %v", err)
		}
		return "error.txt", err.Error() + "\n"
	}
	if diff := gocmp.Diff(a.Warnings, warnings); diff != "" {
		t.Errorf("warnings differ: %s", diff)
	}
	out, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return "api.json", string(out) + "\n"
}

func TestImport(t *testing.T) {
	files, err := filepath.Glob("testdata/import/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			c := readCase(t, file)
			name, got := c.outcome(t)
			want := ""
			last := &c.archive.Files[len(c.archive.Files)-1]
			if last.Name == "api.json" || last.Name == "error.txt" {
				want = string(last.Data)
				if last.Name != name {
					t.Errorf("%s is expected, not %s", last.Name, name)
				}
			}
			if *update {
				if want != "" {
					c.archive.Files = c.archive.Files[:len(c.archive.Files)-1]
				}
				c.archive.Files = append(c.archive.Files, txtar.File{Name: name, Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(c.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzImport(f *testing.F) {
	files, err := filepath.Glob("testdata/import/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(readCase(f, file).doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if len(doc) > 8<<10 {
			return
		}
		a, _, err := Import(doc, Options{ID: counter(), Basepath: "prepend"})
		if err != nil {
			if hansom.KindOf(err) != hansom.Invalid {
				t.Fatalf("kind %d: %v", hansom.KindOf(err), err)
			}
			return
		}
		a.Version = cmp.Or(a.Version, "1") // an export has one in any case
		for _, output := range []string{"JSON", "YAML"} {
			out, err := Export(a, nil, ExportOptions{Specification: "OAS30", Output: output})
			if err != nil {
				t.Fatal(err)
			}
			again, _, err := Import(out, Options{ID: counter()})
			if err != nil {
				t.Fatalf("what was exported cannot be imported: %v\n%s", err, out)
			}
			if diff := gocmp.Diff(canonical(a), canonical(again)); diff != "" {
				t.Fatalf("differs after an export (-before +after):\n%s\n%s", diff, out)
			}
		}
	})
}

// BenchmarkImport reads a document with as many routes as an API can have, and as many schemas that are not looked at.
func BenchmarkImport(b *testing.B) {
	var paths, schemas members
	for i := range maxRoutes {
		n := strconv.Itoa(i)
		paths = append(paths, member{"/r" + n + "/{id}", members{{"get", members{{"operationId", "op" + n},
			{"responses", members{{"200", members{{"description", "ok"}, {"content", members{{"application/json", members{{"schema", members{{"$ref", "#/components/schemas/S" + n}}}}}}}}}}},
			{extIntegration, members{{"type", "aws_proxy"}, {"uri", "arn:aws:lambda:us-east-1:000000000000:function:f"}, {"payloadFormatVersion", "2.0"}}}}}}})
		var properties members
		for p := range 10 {
			properties = append(properties, member{"p" + strconv.Itoa(p), members{{"type", "string"}, {"description", "a property"}}})
		}
		schemas = append(schemas, member{"S" + n, members{{"type", "object"}, {"properties", properties}}})
	}
	doc := members{{"openapi", "3.0.1"}, {"info", members{{"title", "x"}, {"version", "1"}}}, {"paths", paths}, {"components", members{{"schemas", schemas}}}}
	for name, text := range map[string][]byte{"json": appendJSON(nil, doc, ""), "yaml": appendYAML(nil, doc, "")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, _, err := Import(text, Options{ID: counter(), FailOnWarnings: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
