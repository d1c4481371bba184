package awsapi

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hansomcloud/hansom"
)

// named is a service that answers with its name, and with it and a message to an error.
type named string

func (n named) ServeHTTP(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, string(n)) }

func (n named) WriteError(w http.ResponseWriter, _ *http.Request, err error) {
	io.WriteString(w, string(n)+" "+string(rune('0'+int(hansom.KindOf(err)))))
}

// Two versions of one API are told apart by their paths, whether a request is signed or not.
func TestByPath(t *testing.T) {
	h := New(signer{}, slog.New(slog.DiscardHandler), map[string]Service{"apigateway": ByPath("/v2/", named("second"), named("first"))})
	const signature = "AWS4-HMAC-SHA256 Credential=AKIA1/20261123/us-east-1/apigateway/aws4_request, SignedHeaders=host, Signature=0000000000000000000000000000000000000000000000000000000000000000"
	refused := " " + string(rune('0'+int(hansom.Unauthenticated)))
	for path, want := range map[string]string{"/v2/apis": "second", "/v2/tags/x": "second", "/apikeys": "first", "/usageplans/x": "first", "/restapis": "first"} {
		for caller, want := range map[string]string{"root": want, "": want + refused} {
			r := httptest.NewRequest("GET", path, nil)
			if caller != "" {
				r.Header.Set("Authorization", signature)
				r.Header.Set("Test-Caller", caller)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if got := w.Body.String(); got != want {
				t.Errorf("%s by %q: %q, want %q", path, caller, got, want)
			}
		}
	}
}
