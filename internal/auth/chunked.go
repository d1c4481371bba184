package auth

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
)

const (
	chunkAlgorithm   = "AWS4-HMAC-SHA256-PAYLOAD"
	trailerAlgorithm = "AWS4-HMAC-SHA256-TRAILER"
	trailerSignature = "x-amz-trailer-signature"
	maxChunkLine     = 4 << 10 // bytes of a chunk's header or a trailer
	maxTrailers      = 16
)

// chunkedBody decodes the aws-chunked encoding and verifies each chunk against the signature of the one before, so that
// chunks cannot be left out, repeated or moved ("Transferring payload in multiple chunks", S3 API reference). The last bytes of a
// chunk are held back until its signature is verified, and those of the body until all of it is.
type chunkedBody struct {
	src     io.ReadCloser
	in      *bufio.Reader
	key     *signingKey // nil for chunks without signatures
	prefix  string      // stamp and scope, as in each string to sign
	service string
	prev    [64]byte // hex signature of the seed, then of each chunk
	want    [64]byte // signature that the current chunk claims
	hash    hash.Hash
	left    int64 // bytes of the current chunk to come
	total   int64 // bytes decoded
	length  int64 // x-amz-decoded-content-length
	inChunk bool
	trailer bool
	names   []string // trailers declared, lower case
	trailed http.Header
	err     error
}

// chunked puts a chunkedBody in place of r.Body. The signature of r has been verified: it is the seed.
func chunked(r *http.Request, g *signature, k *signingKey, payload string) error {
	length, err := strconv.ParseInt(first(r.Header["X-Amz-Decoded-Content-Length"]), 10, 64)
	if err != nil || length < 0 {
		return &hansom.Error{Kind: hansom.Invalid, Op: "authenticate", Code: "MissingContentLength",
			Message: "You must provide the x-amz-decoded-content-length HTTP header."}
	}
	c := &chunkedBody{
		src: r.Body, length: length, service: strings.Clone(g.service),
		trailer: payload == streamingTrailer || payload == unsignedTrailer,
		trailed: http.Header{},
	}
	if c.src == nil {
		c.src = http.NoBody
	}
	c.in = bufio.NewReaderSize(c.src, maxChunkLine)
	if payload != unsignedTrailer {
		c.key, c.hash = k, sha256.New()
		c.prefix = g.stamp + "\n" + g.scope() + "\n"
		hex.Encode(c.prev[:], g.mac[:])
	}
	if c.trailer {
		for _, v := range r.Header["X-Amz-Trailer"] {
			for name := range strings.SplitSeq(v, ",") {
				if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
					c.names = append(c.names, name)
					c.trailed[http.CanonicalHeaderKey(name)] = nil
				}
			}
		}
		if len(c.names) > maxTrailers {
			return hansom.Errorf(hansom.Invalid, "authenticate", "x-amz-trailer names more than %d trailers", maxTrailers).WithCode("InvalidRequest")
		}
	}
	r.Body, r.ContentLength, r.Trailer = c, length, c.trailed
	r.TransferEncoding = nil
	encoding := slices.DeleteFunc(strings.Split(strings.Join(r.Header["Content-Encoding"], ","), ","), func(s string) bool {
		s = strings.TrimSpace(s)
		return s == "" || strings.EqualFold(s, "aws-chunked")
	})
	if r.Header.Del("Content-Encoding"); len(encoding) > 0 {
		r.Header.Set("Content-Encoding", strings.TrimSpace(strings.Join(encoding, ",")))
	}
	r.Header.Set("Content-Length", strconv.FormatInt(length, 10))
	return nil
}

func (c *chunkedBody) Read(p []byte) (int, error) {
	if c.err != nil || len(p) == 0 {
		return 0, c.err
	}
	n, err := c.read(p)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = &hansom.Error{Kind: hansom.Invalid, Op: "read chunked body", Code: "IncompleteBody",
				Message: "The request body terminated unexpectedly", Err: err}
		}
		c.err = err
	}
	return n, err
}

func (c *chunkedBody) read(p []byte) (int, error) {
	if !c.inChunk {
		if err := c.begin(); err != nil {
			return 0, err
		}
		if c.left == 0 {
			return 0, c.finish()
		}
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	if c.hash != nil {
		c.hash.Write(p[:n])
	}
	c.left -= int64(n)
	if err != nil {
		return 0, unexpected(err)
	}
	if c.left == 0 {
		if err := c.end(); err != nil {
			return 0, err
		}
		if c.total == c.length { // the last bytes are not handed out before the end of the body is verified
			if err := c.begin(); err != nil {
				return 0, err
			}
			if c.err = c.finish(); c.err != io.EOF {
				return 0, c.err
			}
		}
	}
	return n, nil
}

// begin reads "<size in hex>;chunk-signature=<hex>".
func (c *chunkedBody) begin() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	size, signature := line, ""
	if c.key != nil {
		var ok bool
		size, signature, ok = strings.Cut(line, ";chunk-signature=")
		if !ok || len(signature) != len(c.want) {
			return c.malformed("a chunk header without a signature: %.100q", line)
		}
		copy(c.want[:], signature)
	}
	n, err := strconv.ParseUint(size, 16, 63)
	if err != nil || len(size) > 16 {
		return c.malformed("a chunk size that is not hexadecimal: %.40q", size)
	}
	if int64(n) > c.length-c.total {
		return c.malformed("more bytes than x-amz-decoded-content-length, %d", c.length)
	}
	c.left, c.inChunk = int64(n), true
	c.total += int64(n)
	return nil
}

// end reads what closes a chunk of data and verifies it.
func (c *chunkedBody) end() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	if line != "" {
		return c.malformed("a chunk longer than its size")
	}
	c.inChunk = false
	return c.verifyChunk()
}

// finish handles the last, empty chunk, the trailers and the end of the body. It returns io.EOF when all is well.
func (c *chunkedBody) finish() error {
	if err := c.verifyChunk(); err != nil {
		return err
	}
	if c.total != c.length {
		return c.malformed("%d bytes where x-amz-decoded-content-length is %d", c.total, c.length)
	}
	var signed strings.Builder
	signature, count := "", 0
	for {
		line, err := c.trailerLine()
		if err == io.ErrUnexpectedEOF && line == "" && (!c.trailer || c.key == nil || signature != "") {
			break // some clients leave the last, empty line out
		}
		if err != nil {
			return err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		switch {
		case !ok || !c.trailer:
			return c.malformed("data after the last chunk")
		case name == trailerSignature:
			signature = strings.TrimSpace(value)
		case !slices.Contains(c.names, name):
			return c.malformed("a trailer that x-amz-trailer does not name: %.60q", name)
		default:
			if count++; count > maxTrailers {
				return c.malformed("too many trailers")
			}
			value = strings.TrimSpace(value)
			signed.WriteString(name + ":" + value + "\n")
			key := http.CanonicalHeaderKey(name)
			c.trailed[key] = append(c.trailed[key], value)
		}
	}
	for range 4 { // and some end with more empty lines than one
		switch b, err := c.in.ReadByte(); {
		case err == nil && b != '\r' && b != '\n':
			return c.malformed("data after its end")
		case err != nil && err != io.EOF:
			return err
		}
	}
	if _, err := c.in.ReadByte(); err == nil {
		return c.malformed("data after its end")
	}
	if c.trailer && c.key != nil {
		sum := sha256.Sum256([]byte(signed.String()))
		if !c.matches(trailerAlgorithm+"\n"+c.prefix+string(c.prev[:])+"\n"+hex.EncodeToString(sum[:]), signature) {
			return refuse(mismatch, c.service)
		}
	}
	return io.EOF
}

func (c *chunkedBody) verifyChunk() error {
	if c.key == nil {
		return nil
	}
	var sum [sha256.Size]byte
	c.hash.Sum(sum[:0])
	c.hash.Reset()
	if !c.matches(chunkAlgorithm+"\n"+c.prefix+string(c.prev[:])+"\n"+emptyHash+"\n"+hex.EncodeToString(sum[:]), string(c.want[:])) {
		return refuse(mismatch, c.service)
	}
	c.prev = c.want
	return nil
}

func (c *chunkedBody) matches(stringToSign, signature string) bool {
	var sum [sha256.Size]byte
	c.key.sum(&sum, []byte(stringToSign))
	return hmac.Equal([]byte(hex.EncodeToString(sum[:])), []byte(signature))
}

// line reads a line that ends with CRLF. At the end of the body it returns io.ErrUnexpectedEOF.
func (c *chunkedBody) line() (string, error) {
	b, err := c.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", c.malformed("a line of more than %d bytes", maxChunkLine)
	case err != nil:
		return string(b), unexpected(err)
	case len(b) < 2 || b[len(b)-2] != '\r':
		return "", c.malformed("a line that does not end with CR LF")
	}
	return string(b[:len(b)-2]), nil
}

// trailerLine is line for trailers, which AWS accepts with a bare LF too.
func (c *chunkedBody) trailerLine() (string, error) {
	b, err := c.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", c.malformed("a line of more than %d bytes", maxChunkLine)
	case err != nil:
		return string(b), unexpected(err)
	}
	return string(bytes.TrimRight(b, "\r\n")), nil
}

func (c *chunkedBody) malformed(format string, args ...any) error {
	return &hansom.Error{Kind: hansom.Invalid, Op: "read chunked body", Code: "InvalidRequest",
		Message: "The aws-chunked body holds " + fmt.Sprintf(format, args...)}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *chunkedBody) Close() error { return c.src.Close() }
