package lambda

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
)

var update = flag.Bool("update", false, "write the states of all operations to the documentation")

const operationsDoc = "../../../docs/reference/lambda-api.md"

// states asks the service: it tells by name what it refuses.
func states(t *testing.T) map[string]string {
	s := newServer(t).api
	root := hansom.Principal{Kind: hansom.Root, Project: hansom.DefaultProject, ARN: "arn:aws:iam::000000000000:root"}
	parameter := regexp.MustCompile(`\{\w+\}`)
	out := map[string]string{}
	for op := range every {
		path := parameter.ReplaceAllString(op.Path, "x")
		if op.Query != "" {
			path += "?" + op.Query
		}
		r := httptest.NewRequest(op.Method, path, nil)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), root, "id")))
		var body struct{ Message string }
		_ = json.Unmarshal(w.Body.Bytes(), &body) // answers without a body are served
		out[op.Name] = "served"
		if body.Message == fmt.Sprintf("The operation %s is not supported by this server.", op.Name) {
			out[op.Name] = "refused"
		}
		if _, control := s.actions[op.Name]; (control || slices.Contains(invocations, op.Name)) != (out[op.Name] == "served") {
			t.Errorf("%s answers %d %s", op.Name, w.Code, w.Body)
		}
	}
	return out
}

// The documentation's table has every operation once, in order, with the state that the service shows and a word on it.
func TestOperationsAreDocumented(t *testing.T) {
	state := states(t)
	text, err := os.ReadFile(operationsDoc)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (\w+) \| (served|refused) \| (.*) \|\n`)
	notes := map[string]string{}
	var have []string
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		have = append(have, m[0])
		notes[m[1]] = m[3]
	}
	var want []string
	served := 0
	for _, name := range slices.Sorted(maps.Keys(state)) {
		want = append(want, fmt.Sprintf("| %s | %s | %s |\n", name, state[name], notes[name]))
		if notes[name] == "" && !*update {
			t.Errorf("%s: say what is supported, or why it is not", name)
		}
		if state[name] == "served" {
			served++
		}
	}
	count := regexp.MustCompile(`\d+ of the \d+ operations are served`)
	counted := fmt.Sprintf("%d of the %d operations are served", served, len(state))
	if *update {
		first, last := row.FindStringIndex(string(text)), strings.LastIndex(string(text), have[len(have)-1])+len(have[len(have)-1])
		out := string(text[:first[0]]) + strings.Join(want, "") + string(text[last:])
		if err := os.WriteFile(operationsDoc, []byte(count.ReplaceAllString(out, counted)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !slices.Equal(have, want) || count.FindString(string(text)) != counted {
		for i := range max(len(have), len(want)) {
			if i >= len(have) || i >= len(want) || have[i] != want[i] {
				t.Errorf("row %d of %s is not what the service does", i+1, operationsDoc)
				break
			}
		}
		t.Errorf("%s: run go test -run %s -update ./internal/awsapi/lambda (%s)", operationsDoc, t.Name(), counted)
	}
}

// The SDK knows no operation that the table does not have.
func TestOperationsAreThoseOfTheSDK(t *testing.T) {
	var have []string
	for op := range every {
		have = append(have, op.Name)
	}
	var want []string
	client := reflect.TypeFor[*sdk.Client]()
	for i := range client.NumMethod() {
		if m := client.Method(i); m.Type.NumIn() == 4 && strings.HasSuffix(m.Type.In(2).String(), "."+m.Name+"Input") {
			want = append(want, m.Name)
		}
	}
	slices.Sort(have)
	if len(want) < 85 || !slices.Equal(have, want) {
		t.Errorf("%d operations %q\nthe SDK has %d: %q", len(have), have, len(want), want)
	}
}
