package lambda

import (
	"encoding/binary"
	"hash/crc32"
)

// appendEvent appends a message of the encoding application/vnd.amazon.eventstream: total length u32, length of the headers
// u32, CRC-32 of these 8 bytes, headers, payload, CRC-32 of all before it; big-endian. headers are names and string values in
// turn, each a name (length u8), type 7, a value (length u16).
func appendEvent(dst, payload []byte, headers ...string) []byte {
	start := len(dst)
	size := 0
	for i, s := range headers {
		size += 1 + len(s) + 2*(i%2)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(12+size+len(payload)+4))
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
	for i, s := range headers {
		if i%2 == 0 {
			dst = append(dst, byte(len(s)))
		} else {
			dst = append(dst, 7)
			dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
		}
		dst = append(dst, s...)
	}
	dst = append(dst, payload...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}
