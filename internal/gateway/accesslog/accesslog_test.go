package accesslog

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

var variables = map[string]string{
	"requestId": "ID-1", "extendedRequestId": "ID-1", "identity.sourceIp": "192.0.2.1", "identity.userAgent": "a \"quoted\" one\n\\",
	"requestTime": Time(time.Date(2026, 11, 30, 19, 0, 0, 0, time.FixedZone("", 3600))), "httpMethod": "GET", "routeKey": "GET /pets", "protocol": "HTTP/1.1", "status": "200",
	"responseLength": "17", "error.messageString": `it "broke"`, "authorizer.claims.sub": "ada",
}

func value(name string) string { return variables[name] }

func TestFormats(t *testing.T) {
	data, err := os.ReadFile("testdata/formats.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for text := range strings.Lines(string(data)) {
		format, want, ok := strings.Cut(strings.TrimSuffix(text, "\n"), " => ")
		if !ok || format[0] == '#' {
			continue
		}
		n++
		f, err := Parse(format)
		if err != nil {
			t.Error(err)
			continue
		}
		got := string(f.Append(nil, value))
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", format, got, want)
		}
		if format[0] == '{' && !json.Valid([]byte(got)) {
			t.Errorf("no JSON: %s", got)
		}
	}
	if n < 6 {
		t.Errorf("%d formats", n)
	}
	for _, bad := range []string{"", "  \n", "$context.status", "$context.requestIdentity", "requestId", strings.Repeat("x", maxFormat) + "$context.requestId"} {
		if _, err := Parse(bad); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

type sink []hansom.LogEvent

func (s *sink) Append(e hansom.LogEvent) { *s = append(*s, e) }

func TestLog(t *testing.T) {
	var to sink
	l, err := New("000000000000", "abc", "prod", "arn:aws:logs:us-east-1:000000000000:log-group:/my/logs:*", "$context.requestId\n  $context.status\n", &to)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	l.Write(now, "ID-1", value)
	want := hansom.LogEvent{Time: now, Project: "000000000000", Group: "/my/logs", Version: "prod", Instance: "abc", RequestID: "ID-1", Message: "ID-1   200"}
	if len(to) != 1 || to[0] != want {
		t.Errorf("%+v", to)
	}
	for _, bad := range []string{"", "/my/logs", "arn:aws:firehose:us-east-1:000000000000:deliverystream/amazon-apigateway-x", "arn:aws:logs:us-east-1:000000000000:log-group:",
		"arn:aws:logs:us-east-1:000000000000:log-group:a:log-stream:b"} {
		if _, err := New("p", "abc", "prod", bad, "$context.requestId", &to); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A line stays one, and JSON stays JSON, whatever a client sends.
func FuzzAppend(f *testing.F) {
	f.Add(`{"a":"$context.requestId"}`, "x\"\n\\")
	f.Add(`<a>$context.requestId</a>`, "</a>&")
	f.Add(`$context.requestId "$context.x"`, "\xff\x00")
	f.Fuzz(func(t *testing.T, format, v string) {
		parsed, err := Parse(format)
		if err != nil {
			return
		}
		got := parsed.Append(nil, func(string) string { return v })
		if strings.ContainsAny(string(got), "\r\n") {
			t.Errorf("%q", got)
		}
		if utf8.ValidString(format) && !utf8.Valid(got) {
			t.Errorf("%q is no UTF-8", got)
		}
		if quoted := `{"a":"$context.requestId"}`; format == quoted && !json.Valid(got) {
			t.Errorf("%s is no JSON", got)
		}
	})
}
