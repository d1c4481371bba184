// Package frame is the codec of the internal runtime protocol, spoken between the server and the bootstraps of managed
// runtimes over a Unix stream socket that the runtime inherits as fd 3.
//
// A frame is a header of 16 bytes, little-endian, and a body: length of the body u32, kind u8, flags u8, reserved u16,
// stream id u64. Strings in bodies are a u32 length and UTF-8 bytes, in a fixed order. Stream 0 is the runtime itself; every
// invocation has a stream of its own, counted up from 1.
//
//	READY   runtime -> server, stream 0: booted. Body: protocol version u8 (1), runtime version string ("v22.11.0").
//	INIT    server -> runtime, stream 0: load the handler. Body: handler string, task root string, count u32, then count times name string, value string: the environment to set.
//	READY   runtime -> server, stream 0, FlagInit: the handler is loaded. Body: empty.
//	ERROR   runtime -> server, stream 0, FlagInit: loading failed. Body: error JSON. The runtime exits after it.
//	INVOKE  server -> runtime. Body: deadline i64 (Unix milliseconds), request id, function ARN, trace id, client context JSON, identity JSON (strings), then the event: all that remains, raw.
//	RESULT  runtime -> server. Body: the result's JSON. Ends the stream.
//	RESULT  with FlagStream: a streamed answer begins. Body: content type. CHUNK frames follow (raw bytes), then END.
//	END     runtime -> server. Body empty: complete. With FlagError: error JSON; the answer broke off. Ends the stream.
//	ERROR   runtime -> server. Body: error JSON {"errorType","errorMessage","trace"|"stackTrace",...}. Ends the stream. With FlagFatal the runtime exits after it.
//	LOG     runtime -> server, stream of the invocation or 0. Body: one log message, newlines allowed inside. Comes before the RESULT it belongs to.
//	        A message over 256 KB may be taken apart.
//	CANCEL  server -> runtime: the invocation's deadline is over. Its answer is dropped, should it come.
//	WINDOW  server -> runtime. Body: u32, bytes of CHUNK bodies that the stream may have beyond those it had credit for.
//	PING    answered with PING. STOP: server -> runtime, end gracefully.
//
// A runtime whose environment has AWS_LAMBDA_MAX_CONCURRENCY is given that many invocations at once, otherwise one. In the first
// case a streamed answer begins with Credit, and CHUNK frames beyond what it was granted break the protocol; so one slow reader
// holds up no other. In the second case there is no WINDOW: the socket alone holds the runtime back.
package frame

import (
	"encoding/binary"
	"fmt"
)

// Version of the protocol, carried by READY.
const Version = 1

// HeaderSize is the size of a frame's header in bytes.
const HeaderSize = 16

// MaxBody is the largest body accepted, in bytes: the 6 MB payload and room for metadata and base64. A RESULT may announce
// more: the function is told that its answer is too large, which is no breach of the protocol.
const MaxBody = 16 << 20

// Credit is how many bytes of CHUNK bodies a stream may have before its first WINDOW, in runtimes that take several invocations at once.
const Credit = 256 << 10

// Kind of a frame.
type Kind uint8

const (
	Init Kind = iota + 1
	Ready
	Invoke
	Result
	Error
	Chunk
	End
	Log
	Cancel
	Window
	Ping
	Stop
)

func (k Kind) String() string {
	if k < Init || k > Stop {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return [...]string{"INIT", "READY", "INVOKE", "RESULT", "ERROR", "CHUNK", "END", "LOG", "CANCEL", "WINDOW", "PING", "STOP"}[k-Init]
}

// Flags of a frame.
const (
	FlagInit   = 1 << iota // READY, ERROR: about loading the handler
	FlagStream             // RESULT: a streamed answer begins
	FlagError              // END: the streamed answer broke off
	FlagFatal              // ERROR: the runtime exits after it
)

// Header of a frame.
type Header struct {
	Length uint32
	Kind   Kind
	Flags  uint8
	Stream uint64
}

// ParseHeader reads a header from the first HeaderSize bytes of b. It refuses unknown kinds and bodies over MaxBody.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("frame header of %d bytes; it has %d", len(b), HeaderSize)
	}
	h := Header{
		Length: binary.LittleEndian.Uint32(b),
		Kind:   Kind(b[4]),
		Flags:  b[5],
		Stream: binary.LittleEndian.Uint64(b[8:]),
	}
	if h.Kind < Init || h.Kind > Stop {
		return h, fmt.Errorf("frame of unknown kind %d", h.Kind)
	}
	if h.Length > MaxBody && h.Kind != Result {
		return h, fmt.Errorf("frame body of %d bytes is over the limit of %d", h.Length, MaxBody)
	}
	return h, nil
}

// AppendHeader appends a header to dst.
func AppendHeader(dst []byte, h Header) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, h.Length)
	dst = append(dst, byte(h.Kind), h.Flags, 0, 0)
	return binary.LittleEndian.AppendUint64(dst, h.Stream)
}

// AppendString appends a length and the bytes of s to dst.
func AppendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

// String reads a string from the front of b and returns the rest.
func String(b []byte) (s string, rest []byte, err error) {
	p, rest, err := Bytes(b)
	return string(p), rest, err
}

// Bytes is String without the copy: p shares memory with b.
func Bytes(b []byte) (p, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, fmt.Errorf("frame body ends inside a string length")
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, fmt.Errorf("frame body ends inside a string of %d bytes", n)
	}
	return b[4 : 4+n : 4+n], b[4+n:], nil
}
