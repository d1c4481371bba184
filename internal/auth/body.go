package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/hansomcloud/hansom"
)

// Values of x-amz-content-sha256 that are not a hash ("Signature calculations: transferring a payload", S3 API reference).
const (
	unsignedPayload  = "UNSIGNED-PAYLOAD"
	streaming        = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingTrailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	unsignedTrailer  = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

const pooledBody = 64 << 10 // bytes; larger bodies are left to the garbage collector

// Body is the r.Body of a request that was read while it was authenticated.
type Body struct {
	data []byte
	off  int
	buf  *[]byte // from bodies; nil when not pooled
}

var bodies = sync.Pool{New: func() any { b := make([]byte, 0, pooledBody); return &b }}

func (b *Body) Read(p []byte) (int, error) {
	if b.off >= len(b.data) {
		return 0, io.EOF
	}
	n := copy(p, b.data[b.off:])
	b.off += n
	return n, nil
}

// Bytes is the whole body, valid until Close. It saves readers that know this type a copy.
func (b *Body) Bytes() []byte { return b.data }

// Close gives the buffer back. A handler that does not call it costs an allocation, nothing else.
func (b *Body) Close() error {
	if b.buf != nil {
		*b.buf = b.data[:0]
		bodies.Put(b.buf)
		b.buf = nil
	}
	b.data, b.off = nil, 0
	return nil
}

// payload returns the last line of the canonical request.
func (s *Service) payload(r *http.Request, g *signature) (string, error) {
	switch {
	case g.payload == "" && g.service == "s3":
		return "", &hansom.Error{Kind: hansom.Invalid, Op: "authenticate", Code: "InvalidRequest", Message: "Missing required header for this request: x-amz-content-sha256"}
	case g.payload == "":
		return s.readBody(r)
	case g.payload == unsignedPayload, !g.presigned && (g.payload == streaming || g.payload == streamingTrailer || g.payload == unsignedTrailer), isHash(g.payload):
		return g.payload, nil
	}
	return "", &hansom.Error{Kind: hansom.Invalid, Op: "authenticate", Code: "InvalidArgument",
		Message: "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."}
}

func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if unhex(s[i]) < 0 {
			return false
		}
	}
	return true
}

// readBody reads the body, puts a Body in its place and returns the hash.
func (s *Service) readBody(r *http.Request) (string, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return emptyHash, nil
	}
	limit := s.cfg.MaxBody
	tooLarge := func() error {
		return hansom.Errorf(hansom.TooLarge, "authenticate", "Request must be smaller than %d bytes", limit)
	}
	if r.ContentLength > limit {
		return "", tooLarge()
	}
	b := &Body{}
	if r.ContentLength > 0 && r.ContentLength <= pooledBody {
		b.buf = bodies.Get().(*[]byte)
		b.data = (*b.buf)[:0]
	}
	// A large length is not believed at once: the buffer grows with what arrives.
	for {
		if len(b.data) == cap(b.data) {
			b.data = slices.Grow(b.data, max(64<<10, len(b.data)))
		}
		n, err := r.Body.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		if int64(len(b.data)) > limit {
			b.Close()
			return "", tooLarge()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Close()
			return "", hansom.Errorf(hansom.Invalid, "read request", "The request body could not be read: %w", err)
		}
	}
	r.Body = b
	r.ContentLength = int64(len(b.data))
	sum := sha256.Sum256(b.data)
	return hex.EncodeToString(sum[:]), nil
}

// guardBody makes r.Body verify itself while it is read.
func (s *Service) guardBody(r *http.Request, g *signature, k *signingKey, payload string) error {
	if g.payload == "" || payload == unsignedPayload {
		return nil
	}
	if isHash(payload) {
		if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
			if !strings.EqualFold(payload, emptyHash) {
				return refuse(badPayload, g.service)
			}
			return nil
		}
		h := &hashedBody{src: r.Body, hash: sha256.New(), left: r.ContentLength, service: strings.Clone(g.service)}
		if _, err := hex.Decode(h.want[:], []byte(payload)); err != nil {
			return refuse(badPayload, g.service)
		}
		r.Body = h
		return nil
	}
	return chunked(r, g, k, payload)
}

// hashedBody compares the hash of what is read with the declared one. Where the length is known the last bytes are held back
// until they are verified; else the error takes the place of io.EOF.
type hashedBody struct {
	src     io.ReadCloser
	hash    hash.Hash
	want    [sha256.Size]byte
	left    int64 // bytes to come; negative when unknown
	service string
	err     error
}

func (h *hashedBody) Read(p []byte) (int, error) {
	if h.err != nil {
		return 0, h.err
	}
	n, err := h.src.Read(p)
	h.hash.Write(p[:n])
	known := h.left >= 0
	if known {
		h.left -= int64(n)
	}
	if err == io.EOF || (known && h.left <= 0) {
		var sum [sha256.Size]byte
		if h.hash.Sum(sum[:0]); sum != h.want {
			h.err = refuse(badPayload, h.service)
			return 0, h.err
		}
		if known && h.left <= 0 && err == nil {
			err = io.EOF
		}
	}
	if err != nil {
		h.err = err
	}
	if n > 0 && errors.Is(err, io.EOF) {
		return n, nil
	}
	return n, err
}

func (h *hashedBody) Close() error { return h.src.Close() }
