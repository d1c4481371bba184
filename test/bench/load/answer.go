package load

import (
	"bytes"
	"fmt"
	"strconv"
)

var (
	endOfHeader   = []byte("\r\n\r\n")
	contentLength = []byte("content-length:")
	transferCoded = []byte("transfer-encoding:")
)

// answerSize returns the length of the HTTP/1.1 answer that buf begins with, and 0 while it is not all there.
// A status other than 200 and 202, and a body of unknown length are errors.
func answerSize(buf []byte) (int, error) {
	head := bytes.Index(buf, endOfHeader)
	if head < 0 {
		return 0, nil
	}
	status, rest, _ := bytes.Cut(buf[:head+2], []byte("\r\n"))
	if len(status) < 12 || string(status[9:12]) != "200" && string(status[9:12]) != "202" {
		return 0, fmt.Errorf("answer %q %.200q", status, buf[head+4:])
	}
	length, body := -1, buf[head+4:]
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		switch {
		case hasFold(line, contentLength):
			n, err := strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):])))
			if err != nil {
				return 0, err
			}
			length = n
		case hasFold(line, transferCoded):
			n, err := chunkedSize(body)
			if n == 0 || err != nil {
				return 0, err
			}
			return head + 4 + n, nil
		}
	}
	switch {
	case length < 0:
		return 0, fmt.Errorf("answer without a length: %q", buf[:head])
	case len(body) < length:
		return 0, nil
	}
	return head + 4 + length, nil
}

func hasFold(line, prefix []byte) bool {
	return len(line) >= len(prefix) && bytes.EqualFold(line[:len(prefix)], prefix)
}

// chunkedSize is the length of a chunked body without trailers, and 0 while it is not all there.
func chunkedSize(body []byte) (int, error) {
	for at := 0; ; {
		end := bytes.Index(body[at:], []byte("\r\n"))
		if end < 0 {
			return 0, nil
		}
		n, err := strconv.ParseInt(string(body[at:at+end]), 16, 32)
		if err != nil {
			return 0, err
		}
		at += end + 2 + int(n) + 2
		if len(body) < at {
			return 0, nil
		}
		if n == 0 {
			return at, nil
		}
	}
}
