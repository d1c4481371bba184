package sandbox

import (
	"net/http"

	"github.com/hansomcloud/hansom"
)

// Stream takes a streamed answer on behalf of a Link: it passes it to a sink within hansom.MaxStreamPayload, or collects it
// within MaxResponse when there is no sink. It never fails: what has nowhere to go is discarded, so that the runtime can end.
type Stream struct {
	sink    hansom.Sink
	buf     *Buffer // collected
	n       int     // bytes taken
	dirty   bool    // written to the sink and not flushed
	refused bool    // the sink failed
	over    bool    // over the limit
}

// NewStream begins an answer.
func NewStream(sink hansom.Sink, contentType string) *Stream {
	if sink != nil {
		h := make(http.Header, 1)
		if contentType != "" {
			h.Set("Content-Type", contentType)
		}
		sink.Start(http.StatusOK, h)
	}
	return &Stream{sink: sink}
}

// Write takes the next part of the answer.
func (s *Stream) Write(p []byte) {
	limit := MaxResponse
	if s.sink != nil {
		limit = hansom.MaxStreamPayload
	}
	if s.over || len(p) > limit-s.n {
		s.over = true
		return
	}
	if s.sink == nil {
		s.collect(p)
	} else if !s.refused && len(p) > 0 {
		_, err := s.sink.Write(p)
		s.refused, s.dirty = err != nil, true
	}
	s.n += len(p)
}

func (s *Stream) collect(p []byte) {
	if s.buf == nil {
		s.buf = NewBuffer(len(p))
	} else if s.n+len(p) > len(s.buf.B) {
		larger := NewBuffer(s.n + len(p))
		copy(larger.B, s.buf.B[:s.n])
		s.buf.Release()
		s.buf = larger
	}
	copy(s.buf.B[s.n:], p)
}

// Flush passes on what the sink holds back. Links call it when they are about to wait for more.
func (s *Stream) Flush() {
	if s.dirty && !s.refused {
		s.sink.Flush()
	}
	s.dirty = false
}

// Over says that the answer is over the limit. End then reports it as too large.
func (s *Stream) Over() bool { return s.over }

// End completes the answer.
func (s *Stream) End() Response {
	s.Flush()
	switch {
	case s.over:
		limit := MaxResponse
		if s.sink != nil {
			limit = hansom.MaxStreamPayload
		}
		resp := TooLarge(limit)
		resp.Streamed = s.sink != nil
		s.Discard()
		return resp
	case s.sink != nil:
		return Response{Streamed: true}
	case s.buf == nil:
		return Response{}
	}
	return Response{Payload: s.buf.B[:s.n:s.n], Release: s.buf.ReleaseFunc()}
}

// Discard gives up what was collected.
func (s *Stream) Discard() {
	s.Flush()
	if s.buf != nil {
		s.buf.Release()
		s.buf = nil
	}
}
