package lambda

import (
	"regexp"
	"strings"
	"testing"
)

// fullName is the pattern of the model, with AWS's newer regions: parseName must accept and split exactly as it does.
var fullName = regexp.MustCompile(`\A(?:(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?)\z`)

func FuzzParseName(f *testing.F) {
	for _, s := range []string{
		"f", "my-function", "my.function", "function", "function:f", "function:$LATEST", "f:1", "f:$LATEST", "f:$LATEST.PUBLISHED", "f:$LATES",
		"123456789012", "123456789012:f", "123456789012:function:f:prod", "us-east-1:f", "us-east-1:123456789012:f", "us-gov-west-1:f", "us-isob-east-1:f:1",
		"eusc-de-east-1:f", "arn:aws:lambda:us-east-1:123456789012:function:f", "arn:aws:lambda:us-east-1:123456789012:function:f:1",
		"arn::lambda:f", "arn:aws-cn:lambda:f", "arn:aws:lambda", "arn:aws", "arn:aws:lambda:us-east-1::function:f", "arn:aws:lambda:us-east-1:123456789012:function",
		"arn:aws:lambda:us-east-1:123400000000@function:f", "arn:aws:ec2:us-east-1:123456789012:instance:i", "f:1:2", "function:f:$LATEST:x", ":f", "f:", "", "*", "function:function:function",
		"123456789012:$LATEST", "us-east-1:$LATEST", "us-east-1:123456789012:$LATEST", "us-east-1:function:$LATEST", "é", "f\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseName(s)
		m := fullName.FindStringSubmatch(s)
		if ok != (m != nil) {
			t.Fatalf("parseName(%q) accepts: %v, the pattern: %v", s, ok, m != nil)
		}
		if !ok {
			return
		}
		want := name{strings.TrimSuffix(m[3], ":"), strings.TrimSuffix(m[9], ":"), m[11], m[13]}
		if got != want {
			t.Fatalf("parseName(%q) = %+v, the pattern splits it into %+v", s, got, want)
		}
	})
}
