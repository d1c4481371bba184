// Package awstest has what tests of AWS APIs share: the HTTP side of aws-sdk-go-v2, and data files of requests.
package awstest

import (
	"io"
	"net/http"
	"testing"
)

// HTTPClient is an aws.HTTPClient with connections of its own, which are closed when the test ends.
func HTTPClient(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: roundTripper{transport}}
}

// roundTripper hides the io.WriterTo of the SDK's request bodies. smithy-go closes a body as soon as there is an answer, and the
// WriteTo of a closed one fails with io.EOF: the transport, which looks for the body's end, takes that for a broken request and
// closes the connection from which the answer is read. A server on the same machine is quick enough for that.
type roundTripper struct{ http.RoundTripper }

func (rt roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return rt.RoundTripper.RoundTrip(r)
}
