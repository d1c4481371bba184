package policy

import (
	"encoding/json"
	"os"
	"path"
	"strings"
	"testing"
)

// TestDocuments has policies and what they say of resources, with the action execute-api:Invoke.
func TestDocuments(t *testing.T) {
	text, err := os.ReadFile("testdata/documents.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Error        string
		Document           json.RawMessage
		Context, Resources map[string]string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			d, err := Parse(c.Document)
			if err != nil || c.Error != "" {
				if err == nil || c.Error == "" || !strings.Contains(err.Error(), c.Error) {
					t.Fatalf("%v, want %q", err, c.Error)
				}
				return
			}
			for resource, want := range c.Resources {
				got := d.Evaluate("execute-api:Invoke", resource, func(key string) (string, bool) {
					v, ok := c.Context[key]
					return v, ok
				})
				if name := map[Effect]string{None: "none", Allow: "allow", Deny: "deny"}[got]; name != want {
					t.Errorf("%s: %s, want %s", resource, name, want)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/documents.json")
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct{ Document json.RawMessage }
	if err := json.Unmarshal(text, &cases); err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		f.Add([]byte(c.Document), "arn:aws:execute-api:us-east-1:000000000000:abc/test/GET/pets")
	}
	f.Fuzz(func(t *testing.T, document []byte, resource string) {
		if d, err := Parse(document); err == nil {
			d.Evaluate("execute-api:Invoke", resource, func(key string) (string, bool) { return resource, key != "" })
		}
	})
}

// FuzzMatch compares with path.Match, which knows the same two signs, on texts without its others.
func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"", ""}, {"*", ""}, {"a*b?c", "aXXbYc"}, {"**a", "aaa"}, {"?", "ä"}, {"*?*", "x"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if strings.ContainsAny(pattern+text, `[]\/`) || strings.ToValidUTF8(pattern+text, "") != pattern+text {
			return
		}
		if want, err := path.Match(pattern, text); err == nil && Match(pattern, text) != want {
			t.Errorf("%q on %q: %v, want %v", pattern, text, !want, want)
		}
	})
}
