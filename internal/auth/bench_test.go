package auth

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

// warm returns what a server does with a signed Invoke of a small payload, again and again.
func warm(tb testing.TB, c func(*Service) hansom.Credentials) func() {
	s := newService(tb, testConfig())
	r := signed(tb, c(s), "lambda", testNow, `{"name":"world"}`)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Fatal(err)
	}
	src := bytes.NewReader(body)
	closer := io.NopCloser(src)
	return func() {
		src.Reset(body)
		r.Body = closer
		if _, err := s.Authenticate(r); err != nil {
			tb.Fatal(err)
		}
		if b := r.Body.(*Body); len(b.Bytes()) != len(body) {
			tb.Fatal("body is lost")
		}
		r.Body.Close()
	}
}

func accessKey(*Service) hansom.Credentials { return testRoot }

func session(s *Service) hansom.Credentials {
	return s.Issue(hansom.Principal{Kind: hansom.Root, Project: hansom.DefaultProject}, time.Hour)
}

func BenchmarkAuthenticate(b *testing.B) {
	for name, keys := range map[string]func(*Service) hansom.Credentials{"key": accessKey, "session": session} {
		b.Run(name, func(b *testing.B) {
			f := warm(b, keys)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	for name, keys := range map[string]func(*Service) hansom.Credentials{"key": accessKey, "session": session} {
		f := warm(t, keys)
		f()
		if n := testing.AllocsPerRun(200, f); n > 5 && !raceEnabled {
			t.Errorf("%s: %v allocations for a small request, want at most 5", name, n)
		}
	}
}
