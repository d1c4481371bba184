package auth

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hansomcloud/hansom"
)

// The example keys and requests of the S3 API reference, "Transferring payload in multiple chunks" and "Including trailing headers".
var (
	exampleKeys = hansom.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
)

const (
	chunkA     = "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"
	chunkB     = "400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"
	chunkEnd   = "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n"
	trailerA   = "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
	trailerB   = "400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
	trailerEnd = "0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
	checksum   = "x-amz-checksum-crc32c:sOO8/Q==\r\n"
	trailerMAC = "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"
)

var (
	dataA = strings.Repeat("a", 65536) + "\r\n"
	dataB = strings.Repeat("a", 1024) + "\r\n"
)

func exampleService(t testing.TB) *Service {
	cfg := testConfig()
	cfg.Root = exampleKeys
	cfg.Now = func() time.Time { return exampleTime }
	return newService(t, cfg)
}

// exampleRequest is the reference's PUT with a signature of kind "chunks", "trailer" or "unsigned".
func exampleRequest(t testing.TB, kind, body string) *http.Request {
	t.Helper()
	raw := "PUT /examplebucket/chunkObject.txt HTTP/1.1\r\nHost: s3.amazonaws.com\r\nX-Amz-Date: 20130524T000000Z\r\n" +
		"X-Amz-Storage-Class: REDUCED_REDUNDANCY\r\nContent-Encoding: aws-chunked\r\nX-Amz-Decoded-Content-Length: 66560\r\n"
	const auth = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="
	switch kind {
	case "chunks":
		raw += "X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\nContent-Length: 66824\r\n" + auth +
			"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class," +
			"Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9\r\n"
	case "trailer":
		raw += "X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER\r\nX-Amz-Trailer: x-amz-checksum-crc32c\r\n" + auth +
			"content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer," +
			"Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e\r\n"
	case "unsigned":
		r, err := http.NewRequest("PUT", "http://s3.amazonaws.com/examplebucket/chunkObject.txt", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32c")
		r.Header.Set("X-Amz-Decoded-Content-Length", "66560")
		Sign(r, exampleKeys, "us-east-1", "s3", unsignedTrailer, exampleTime)
		r.Body = io.NopCloser(strings.NewReader(body))
		r.ContentLength = int64(len(body))
		return r
	}
	r := parsed(t, raw+"\r\n")
	r.Body = io.NopCloser(strings.NewReader(body))
	return r
}

func TestChunkedExamples(t *testing.T) {
	s := exampleService(t)
	for _, c := range []struct{ name, kind, body, checksum string }{
		{"chunks", "chunks", chunkA + dataA + chunkB + dataB + chunkEnd + "\r\n", ""},
		{"no last line", "chunks", chunkA + dataA + chunkB + dataB + chunkEnd, ""},
		{"trailer", "trailer", trailerA + dataA + trailerB + dataB + trailerEnd + checksum + trailerMAC + "\r\n", "sOO8/Q=="},
		{"unsigned trailer", "unsigned", "10000\r\n" + dataA + "400\r\n" + dataB + "0\r\n" + checksum + "\r\n", "sOO8/Q=="},
		{"line feed after the trailer", "unsigned", "10400\r\n" + dataA[:65536] + dataB + "0\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\n\r\n", "sOO8/Q=="},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			t.Run(c.name, func(t *testing.T) {
				r := exampleRequest(t, c.kind, c.body)
				r.Body = io.NopCloser(wrap(r.Body))
				if _, err := s.Authenticate(r); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r.Body)
				if err != nil || !bytes.Equal(got, bytes.Repeat([]byte("a"), 66560)) {
					t.Fatalf("read %d bytes, %v", len(got), err)
				}
				if r.ContentLength != 66560 || r.Header.Get("Content-Encoding") != "" {
					t.Errorf("length %d, encoding %q", r.ContentLength, r.Header.Get("Content-Encoding"))
				}
				if got := r.Trailer.Get("X-Amz-Checksum-Crc32c"); got != c.checksum {
					t.Errorf("checksum in the trailer is %q, want %q", got, c.checksum)
				}
			})
		}
	}
}

func TestChunkedTampering(t *testing.T) {
	s := exampleService(t)
	good := chunkA + dataA + chunkB + dataB + chunkEnd + "\r\n"
	flip := func(body string, at int) string { return body[:at] + "b" + body[at+1:] }
	for _, c := range []struct{ name, kind, body, code string }{
		{"first byte", "chunks", flip(good, len(chunkA)), "SignatureDoesNotMatch"},
		{"last byte", "chunks", flip(good, len(chunkA)+len(dataA)+len(chunkB)+1023), "SignatureDoesNotMatch"},
		{"signature of the end", "chunks", chunkA + dataA + chunkB + dataB + strings.Replace(chunkEnd, "b6c6", "b6c7", 1) + "\r\n", "SignatureDoesNotMatch"},
		{"chunks swapped", "chunks", chunkB + dataB + chunkA + dataA + chunkEnd + "\r\n", "SignatureDoesNotMatch"},
		{"signature replayed", "chunks", chunkA + dataA + "400" + chunkA[5:] + dataB + chunkEnd + "\r\n", "SignatureDoesNotMatch"},
		{"chunk repeated", "chunks", chunkB + dataB + chunkB + dataB + chunkEnd + "\r\n", "SignatureDoesNotMatch"},
		{"chunk left out", "chunks", chunkA + dataA + chunkEnd + "\r\n", "SignatureDoesNotMatch"},
		{"end too early", "chunks", chunkEnd + "\r\n", "SignatureDoesNotMatch"},
		{"chunks of another request", "trailer", chunkA + dataA + chunkB + dataB + chunkEnd + checksum + trailerMAC + "\r\n", "SignatureDoesNotMatch"},
		{"trailer changed", "trailer", trailerA + dataA + trailerB + dataB + trailerEnd + "x-amz-checksum-crc32c:sOO8/A==\r\n" + trailerMAC + "\r\n", "SignatureDoesNotMatch"},
		{"trailer unsigned", "trailer", trailerA + dataA + trailerB + dataB + trailerEnd + checksum + "\r\n", "SignatureDoesNotMatch"},
		{"trailer undeclared", "trailer", trailerA + dataA + trailerB + dataB + trailerEnd + "x-amz-meta-a:1\r\n" + trailerMAC + "\r\n", "InvalidRequest"},
		{"trailer gone", "trailer", trailerA + dataA + trailerB + dataB + trailerEnd, "IncompleteBody"},
		{"cut in a chunk", "chunks", good[:5000], "IncompleteBody"},
		{"cut after a chunk", "chunks", chunkA + dataA, "IncompleteBody"},
		{"data after the end", "chunks", good + "more", "InvalidRequest"},
		{"no signatures", "chunks", "10400\r\n" + dataA[:65536] + dataB + "0\r\n\r\n", "InvalidRequest"},
		{"longer than declared", "unsigned", "10401\r\na" + dataA[:65536] + dataB + "0\r\n\r\n", "InvalidRequest"},
		{"shorter than declared", "unsigned", "400\r\n" + dataB + "0\r\n\r\n", "InvalidRequest"},
		{"size is a word", "unsigned", "xyz\r\n", "InvalidRequest"},
		{"size is negative", "unsigned", "-1\r\n", "InvalidRequest"},
		{"size is huge", "unsigned", "fffffffffffffffff\r\n", "InvalidRequest"},
		{"endless line", "unsigned", strings.Repeat("0", 100_000), "InvalidRequest"},
		{"empty", "chunks", "", "IncompleteBody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := exampleRequest(t, c.kind, c.body)
			if _, err := s.Authenticate(r); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r.Body)
			wantCode(t, err, c.code)
			if len(got) >= 66560 {
				t.Errorf("all %d bytes were handed out", len(got))
			}
			if n, again := r.Body.Read(make([]byte, 1)); n != 0 || again == nil || again == io.EOF {
				t.Errorf("a read after the error gives %d, %v", n, again)
			}
		})
	}
	r := exampleRequest(t, "chunks", good)
	r.Header.Set("X-Amz-Content-Sha256", unsignedTrailer) // ask for no verification of the chunks
	if _, err := s.Authenticate(r); err == nil {
		t.Error("the kind of payload could be changed")
	}
}

func FuzzChunked(f *testing.F) {
	s := exampleService(f)
	for _, kind := range []string{"chunks", "trailer", "unsigned"} {
		for _, body := range []string{"", "0\r\n\r\n", "400\r\n" + dataB + "0\r\n" + checksum + "\r\n", chunkEnd + "\r\n", "1;chunk-signature=\r\n", "0\r\na:b\nc:d\n\n", checksum, trailerMAC} {
			f.Add(kind, body)
		}
	}
	f.Fuzz(func(t *testing.T, kind, body string) {
		if kind != "chunks" && kind != "trailer" && kind != "unsigned" {
			t.Skip()
		}
		r := exampleRequest(t, kind, body)
		if _, err := s.Authenticate(r); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r.Body)
		if err == nil && len(got) != 66560 {
			t.Fatalf("%d bytes were accepted as 66560", len(got))
		}
		if err == nil && kind != "unsigned" && !strings.Contains(body, "chunk-signature=") {
			t.Fatal("chunks without signatures were accepted")
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	s := exampleService(f)
	good := exampleRequest(f, "chunks", "").Header.Get("Authorization")
	for _, seed := range []string{"", good, good[:len(good)-1], "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 =", "AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;;, Signature=",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host;, Signature=" + emptyHash, "AWS4-HMAC-SHA256,,,", "AWS AKID:sig"} {
		f.Add(seed, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="+strings.ReplaceAll(seed, "&", ""), "20130524T000000Z")
	}
	f.Add("", "X-Amz-Signature=%", "x")
	f.Fuzz(func(t *testing.T, header, query, date string) {
		r := exampleRequest(t, "chunks", "")
		r.Header.Del("Authorization")
		if header != "" {
			r.Header["Authorization"] = []string{header}
		}
		r.Header["X-Amz-Date"] = []string{date}
		r.URL.RawQuery = query
		Scope(r)
		p, err := s.Authenticate(r)
		// Only the example's own signature can be right, however it is written.
		if err == nil && !(strings.Contains(header, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9") || strings.Contains(strings.ToLower(header), "4f232c43")) {
			t.Fatalf("%q was accepted as %+v", header, p)
		}
		if err != nil {
			if e, ok := err.(*hansom.Error); !ok || e.Code == "" || e.Message == "" {
				t.Fatalf("error is %s", fmt.Sprintf("%#v", err))
			}
		}
	})
}
