package input

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

func load[T any](t *testing.T, file string) (cases []T) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err == nil {
		err = json.Unmarshal(text, &cases)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestPaths(t *testing.T) {
	event := []byte(`{"id":"1","detail-type":"Order Paid","resources":["arn"],"detail":{"state":"RUNNING","a.b":1,"a/b":2,"under_score":3,"größe":4,"bracket]s":5,
		"items":[{"id":1,"tags":["x","y"]},{"id":2}],"nested":{"a":1.50,"b":null},"twice":1,"twice":2}}`)
	for _, c := range load[struct {
		Path string
		Want *string
		Bad  bool
	}](t, "paths.json") {
		p, err := ParsePath(c.Path)
		if (err != nil) != c.Bad || err != nil && hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%s: %v", c.Path, err)
		}
		if err != nil {
			continue
		}
		got, ok := p.Find(event)
		want := ""
		if c.Want != nil {
			want = strings.ReplaceAll(*c.Want, "EVENT", string(event))
		}
		if ok != (c.Want != nil) || string(got) != want {
			t.Errorf("%s finds %s %v, want %s", c.Path, got, ok, want)
		}
	}
}

func TestTemplates(t *testing.T) {
	event := `{"version":"0","id":"7bf7","source":"shop <eu>","resources":["arn"],"detail":{"instance":"i-0123","state":"RUNNING","payload":{"acc_id":"0a78","sf_id":"baz"},` +
		`"states":["ACTIVE","INACTIVE"],"one":["HIGH"],"null":null,"number":1.50,"true":true,"quoted":"say \"hi\"\n","deep":{"a":"x\"y"}}}`
	at := Context{RuleARN: "arn:aws:events:us-east-1:000000000000:rule/paid", RuleName: "paid", Ingested: time.Date(2026, 11, 30, 12, 0, 1, 5e8, time.UTC)}
	for _, c := range load[struct {
		About, Template    string
		Paths              map[string]string
		Want, Unknown, Bad string
	}](t, "templates.json") {
		tr, err := ParseTransformer(c.Template, c.Paths)
		var unknown *UnknownError
		switch {
		case c.Unknown != "":
			if !errors.As(err, &unknown) || unknown.Variable != c.Unknown {
				t.Errorf("%s: %v", c.About, err)
			}
		case c.Bad != "":
			if hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), c.Bad) {
				t.Errorf("%s: %v, want %q", c.About, err, c.Bad)
			}
		case err != nil:
			t.Errorf("%s: %v", c.About, err)
		default:
			want := strings.ReplaceAll(c.Want, "EVENT", event)
			for range 2 { // it can be used again
				if got := string(tr.Apply([]byte(event), at)); got != want {
					t.Errorf("%s: %s\nwant %s", c.About, got, want)
				}
			}
		}
	}
}

func TestText(t *testing.T) {
	for value, want := range map[string]string{`"a\"b"`: `a"b`, `1`: `1`, `{"a":1}`: `{"a":1}`, `null`: `null`, ``: ``} {
		if got := Text([]byte(value)); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// FuzzTransformer looks for templates that make no JSON of an event that is JSON.
func FuzzTransformer(f *testing.F) {
	f.Add(`{"a": <x>, "b": "<x> <aws.events.event>"}`, "$.detail.a[0]", `{"id":"1","detail":{"a":["x\\\"",{"b":null}]}}`)
	f.Add(`"<x>"`, "$.*", `{"detail":{"a":"\u0000"}}`)
	f.Fuzz(func(t *testing.T, template, path, event string) {
		var compact strings.Builder
		if !json.Valid([]byte(event)) || !strings.HasPrefix(event, "{") || strings.ContainsAny(event, " \t\r\n") {
			return
		}
		tr, err := ParseTransformer(template, map[string]string{"x": path})
		if err != nil {
			return
		}
		compact.Write(tr.Apply([]byte(event), Context{RuleARN: "arn", RuleName: "r"}))
		dec := json.NewDecoder(strings.NewReader(compact.String()))
		for {
			var v json.RawMessage
			if err := dec.Decode(&v); err != nil {
				if err.Error() == "EOF" {
					return
				}
				t.Fatalf("%q with %q of %q makes %q: %v", template, path, event, compact.String(), err)
			}
		}
	})
}
