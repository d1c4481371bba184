package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

func TestStatements(t *testing.T) {
	var s Statements
	for _, sid := range []string{"a", "b"} {
		var err error
		if s, err = s.Add(Statement{Sid: sid, Effect: "Allow", Principal: "*", Action: "lambda:InvokeFunction", Resource: "arn:<f>"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Add(Statement{Sid: "a"}); hansom.KindOf(err) != hansom.Conflict {
		t.Errorf("a second statement a: %v", err)
	}
	one := `{"Sid":"a","Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunction","Resource":"arn:<f>"}`
	if got, want := s.Document(), `{"Version":"2012-10-17","Id":"default","Statement":[`+one+`,`+strings.Replace(one, `"a"`, `"b"`, 1)+`]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	less, err := s.Remove("b")
	if err != nil || less.String() != "["+one+"]" || len(s) != 2 || s[1].Sid != "b" {
		t.Errorf("without b: %s %v; before: %s", less, err, s)
	}
	if _, err := less.Remove("b"); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("remove b again: %v", err)
	}
	for i := 0; err == nil; i++ {
		less, err = less.Add(Statement{Sid: fmt.Sprint("long", i), Resource: strings.Repeat("r", 1000)})
		if err == nil && len(less.Document()) > 20<<10 {
			t.Fatalf("a policy of %d bytes", len(less.Document()))
		}
	}
	if !strings.Contains(err.Error(), "The final policy size") || len(less) != 0 {
		t.Error(err, len(less))
	}
}
