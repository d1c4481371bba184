package telemetry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// A segment is a header and records. A record is the length of its body u32 and the CRC-32C of its body u32, little-endian,
// then the body: time i64 and ingestion time i64 (Unix nanoseconds), function ("" for the group's own), version, instance and
// request id (each a length u16 and bytes), and the message. With the first line of a call, what triggered it follows the request id
// after a NUL byte. Project and group are in the path. Without a version, instance is
// the name of the log stream. Segments of the first format, which are read and no longer written, have no ingestion time, no
// function, and lengths u8.
const (
	segmentHeader  = "HANSLOG2"
	segmentHeader1 = "HANSLOG1"
	recordHeader   = 8
	recordFixed    = recordHeader + 8 + 8 + 4*2
	recordFixed1   = recordHeader + 8 + 3
	maxField       = 2048      // bytes; 512 characters, which the name of a log stream may have
	maxMessage     = 1 << 20   // bytes; CloudWatch Logs' limit for an event
	maxLine        = 256 << 10 // bytes of a line that a function logs
	maxRecord      = recordFixed + 4*maxField + maxMessage
)

// erased is the time of a record whose log stream was deleted.
const erased = math.MinInt64

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errTorn = errors.New("the record is not complete")
)

// fit cuts what a record cannot hold.
func fit(e *hansom.LogEvent) {
	e.Version, e.Instance, e.RequestID = cut(e.Version, 255), cut(e.Instance, 255), cut(e.RequestID, 255)
	e.Source = cut(e.Source, 255)
	e.Message = cut(e.Message, maxLine)
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
	return recordFixed + len(e.Function) + len(e.Version) + len(e.Instance) + requestSize(e) + len(e.Message)
}

func requestSize(e *hansom.LogEvent) int {
	if e.Source == "" {
		return len(e.RequestID)
	}
	return len(e.RequestID) + 1 + len(e.Source)
}

// appendRecord appends e, which fits.
func appendRecord(dst []byte, e *hansom.LogEvent, ingested int64) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(recordSize(e)-recordHeader))
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Time.UnixNano()))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(ingested))
	for _, s := range [...]string{e.Function, e.Version, e.Instance} {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(s)))
		dst = append(dst, s...)
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(requestSize(e)))
	dst = append(dst, e.RequestID...)
	if e.Source != "" {
		dst = append(append(dst, 0), e.Source...)
	}
	dst = append(dst, e.Message...)
	seal(dst[start:])
	return dst
}

// seal sets the checksum of a whole record.
func seal(b []byte) {
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[recordHeader:], castagnoli))
}

// erase blanks the message of a whole record. Its size stays, so that the records behind it keep their places.
func erase(b []byte, r *record) {
	time := int64(erased)
	binary.LittleEndian.PutUint64(b[recordHeader:], uint64(time))
	clear(r.message)
	seal(b)
}

// record is a decoded record; it points into the bytes that it was read from.
type record struct {
	time, ingested                                        int64
	function, version, instance, request, source, message []byte
	at                                                    int64 // place in its segment: bytes behind the header
}

// parseRecord reads the record at the front of b, which is of a segment with that header, and returns its size. The error is
// errTorn when b ends inside it or when it is not intact.
func parseRecord(header string, b []byte) (r record, size int, err error) {
	fixed := recordFixed
	if header == segmentHeader1 {
		fixed = recordFixed1
	}
	if len(b) < recordHeader {
		return r, 0, errTorn
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < fixed-recordHeader || n > maxRecord-recordHeader || n > len(b)-recordHeader {
		return r, 0, errTorn
	}
	body := b[recordHeader : recordHeader+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return r, 0, errTorn
	}
	r.time = int64(binary.LittleEndian.Uint64(body))
	body = body[8:]
	fields := []*[]byte{&r.function, &r.version, &r.instance, &r.request}
	width := 2
	if header == segmentHeader1 {
		r.ingested, fields, width = r.time, fields[1:], 1
	} else {
		r.ingested = int64(binary.LittleEndian.Uint64(body))
		body = body[8:]
	}
	for _, field := range fields {
		if len(body) < width {
			return r, 0, errTorn
		}
		length := int(body[0])
		if width == 2 {
			length = int(binary.LittleEndian.Uint16(body))
		}
		if length > len(body)-width {
			return r, 0, errTorn
		}
		*field, body = body[width:width+length], body[width+length:]
	}
	r.request, r.source, _ = bytes.Cut(r.request, []byte{0})
	r.message = body
	return r, recordHeader + n, nil
}

// event copies r out of the bytes it points into.
func (r *record) event(n groupID) hansom.LogEvent {
	e := hansom.LogEvent{
		Time: time.Unix(0, r.time).UTC(), Project: n.project, Group: n.other, Function: n.function,
		Version: string(r.version), Instance: string(r.instance), RequestID: string(r.request), Source: string(r.source), Message: string(r.message),
	}
	if len(r.function) > 0 {
		e.Function = string(r.function)
	}
	return e
}

// appendStream appends the name of the log stream that r belongs to.
func (r *record) appendStream(dst []byte) []byte {
	version, instance := r.version, r.instance
	if len(version) == 0 {
		if len(instance) > 0 {
			return append(dst, instance...)
		}
		version, instance = []byte(hansom.Latest), []byte("platform")
	}
	dst = time.Unix(0, r.time).UTC().AppendFormat(dst, "2006/01/02/[")
	dst = append(append(dst, version...), ']')
	return append(dst, instance...)
}

// countRecords returns how many records of a segment with that header b holds and the length of those that are intact.
func countRecords(header string, b []byte) (count, length int) {
	for {
		_, n, err := parseRecord(header, b[length:])
		if err != nil {
			return count, length
		}
		count, length = count+1, length+n
	}
}
