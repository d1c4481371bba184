package telemetry

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// A segment is a header and records. A record is the length of its body u32 and the CRC-32C of its body u32, little-endian,
// then the body: time i64 (Unix nanoseconds), version, instance and request id (each a length u8 and bytes), and the message.
// Project and function are in the path.
const (
	segmentHeader = "HANSLOG1"
	recordHeader  = 8
	recordFixed   = recordHeader + 8 + 3
	maxMessage    = 256 << 10 // bytes; CloudWatch Logs' limit for an event
	maxRecord     = recordFixed + 3*255 + maxMessage
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errTorn = errors.New("the record is not complete")
)

// fit cuts what a record cannot hold.
func fit(e *hansom.LogEvent) {
	e.Version, e.Instance, e.RequestID = cut(e.Version, 255), cut(e.Instance, 255), cut(e.RequestID, 255)
	e.Message = cut(e.Message, maxMessage)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func recordSize(e *hansom.LogEvent) int {
	return recordFixed + len(e.Version) + len(e.Instance) + len(e.RequestID) + len(e.Message)
}

// appendRecord appends e, which fits.
func appendRecord(dst []byte, e *hansom.LogEvent) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(recordSize(e)-recordHeader))
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Time.UnixNano()))
	for _, s := range [...]string{e.Version, e.Instance, e.RequestID} {
		dst = append(dst, byte(len(s)))
		dst = append(dst, s...)
	}
	dst = append(dst, e.Message...)
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(dst[start+recordHeader:], castagnoli))
	return dst
}

// record is a decoded record; it points into the bytes that it was read from.
type record struct {
	time                                int64
	version, instance, request, message []byte
}

// parseRecord reads the record at the front of b and returns its size. The error is errTorn when b ends inside it or when it is
// not intact.
func parseRecord(b []byte) (r record, size int, err error) {
	if len(b) < recordHeader {
		return r, 0, errTorn
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < recordFixed-recordHeader || n > maxRecord-recordHeader || n > len(b)-recordHeader {
		return r, 0, errTorn
	}
	body := b[recordHeader : recordHeader+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return r, 0, errTorn
	}
	r.time = int64(binary.LittleEndian.Uint64(body))
	body = body[8:]
	for _, field := range [...]*[]byte{&r.version, &r.instance, &r.request} {
		if len(body) == 0 || int(body[0]) > len(body)-1 {
			return r, 0, errTorn
		}
		*field, body = body[1:1+body[0]], body[1+body[0]:]
	}
	r.message = body
	return r, recordHeader + n, nil
}

// event copies r out of the bytes it points into.
func (r *record) event(n name) hansom.LogEvent {
	return hansom.LogEvent{
		Time: time.Unix(0, r.time).UTC(), Project: n.project, Function: n.function,
		Version: string(r.version), Instance: string(r.instance), RequestID: string(r.request), Message: string(r.message),
	}
}

// countRecords returns how many records b holds and the length of those that are intact.
func countRecords(b []byte) (count, length int) {
	for {
		_, n, err := parseRecord(b[length:])
		if err != nil {
			return count, length
		}
		count, length = count+1, length+n
	}
}
