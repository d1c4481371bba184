package awstest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
)

// Callers are who sends requests, by the names that data files have for them.
var Callers = map[string]hansom.Principal{
	"":         {Kind: hansom.Root, Project: hansom.DefaultProject, UserID: "AIDA", ARN: "arn:aws:iam::000000000000:root"},
	"other":    {Kind: hansom.Root, Project: "111111111111", UserID: "AIDB", ARN: "arn:aws:iam::111111111111:root"},
	"function": {Kind: hansom.FunctionSession, Project: hansom.DefaultProject, UserID: "AROA:f", ARN: "arn:aws:sts::000000000000:assumed-role/r/f"},
}

// Requests sends the requests of a data file to a service of the rest-json protocol, one after the other. {name} in them stands for what saved
// has of that name, and for what "save" kept of an answer before. items and next are the members of lists that have their items, and the token
// of the next page.
func Requests(t *testing.T, file string, service http.Handler, saved map[string]string, items, next string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Do, As  string
		In      json.RawMessage
		Raw     string // the body, in place of In
		Status  int
		Want    map[string]any    // members of the answer
		Lacks   []string          // members
		Save    map[string]string // name -> member
		By      string            // member of the items
		Items   []string          // its values
		Next    bool              // there is another page
		Type    string            // of an error
		Message string            // of an error, or its beginning when it ends with "..."
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	fill := func(in string) string {
		for name, v := range saved {
			in = strings.ReplaceAll(in, "{"+name+"}", v)
		}
		return in
	}
	for _, c := range cases {
		method, path, _ := strings.Cut(fill(c.Do), " ")
		r := httptest.NewRequest(method, "http://service.test"+path, strings.NewReader(fill(string(c.In)+c.Raw)))
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), Callers[c.As], "request-1")))
		got := map[string]any{}
		if w.Body.Len() > 0 {
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%s: %v in %s", c.Do, err, w.Body)
			}
		}
		if w.Code != c.Status || w.Header().Get("X-Amzn-Errortype") != c.Type {
			t.Errorf("%s %s: %d %s %s\nwant %d %s", c.Do, c.In, w.Code, w.Header().Get("X-Amzn-Errortype"), w.Body, c.Status, c.Type)
			continue
		}
		message, _ := got["message"].(string)
		if begin, ok := strings.CutSuffix(fill(c.Message), "..."); ok && !strings.HasPrefix(message, begin) || !ok && message != begin {
			t.Errorf("%s %s: %q, want %q", c.Do, c.In, message, c.Message)
		}
		want, _ := json.Marshal(c.Want)
		var filled map[string]any
		if err := json.Unmarshal([]byte(fill(string(want))), &filled); err != nil {
			t.Fatal(err)
		}
		for name, v := range filled {
			if !reflect.DeepEqual(got[name], v) {
				t.Errorf("%s: %s is %v, want %v", c.Do, name, got[name], v)
			}
		}
		for name := range got {
			if slices.Contains(c.Lacks, name) {
				t.Errorf("%s: the answer has %s", c.Do, name)
			}
		}
		for name, member := range c.Save {
			saved[name], _ = got[member].(string)
		}
		if c.By == "" {
			continue
		}
		var values []string
		list, _ := got[items].([]any)
		for _, x := range list {
			values = append(values, fmt.Sprint(x.(map[string]any)[c.By]))
		}
		slices.Sort(values)
		if !slices.Equal(values, c.Items) {
			t.Errorf("%s: %q, want %q", c.Do, values, c.Items)
		}
		if more := got[next] != nil; more != c.Next {
			t.Errorf("%s: another page: %v", c.Do, more)
		}
	}
}
