package queue

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
)

// A receipt handle is the place of a message, which taking of it this is, and when that was, with a MAC over these and the id of the queue.
const (
	receiptSize = 8 + 4 + 8
	macSize     = 16
)

func (s *Service) handle(q *Queue, r backlog.Receipt, taken time.Time) string {
	b := make([]byte, 0, receiptSize+macSize)
	b = binary.BigEndian.AppendUint64(b, r.Seq)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Take))
	b = binary.BigEndian.AppendUint64(b, uint64(taken.UnixMicro()))
	return base64.StdEncoding.EncodeToString(append(b, s.mac(q, b)...))
}

func (s *Service) mac(q *Queue, b []byte) []byte {
	h := hmac.New(sha256.New, s.cfg.Key)
	h.Write([]byte(q.id))
	h.Write(b)
	return h.Sum(nil)[:macSize]
}

// receipt reads a receipt handle of a queue. Error: ReceiptHandleIsInvalid.
func (s *Service) receipt(q *Queue, handle string) (r backlog.Receipt, taken time.Time, err error) {
	b, err := base64.StdEncoding.DecodeString(handle)
	if err != nil || len(b) != receiptSize+macSize || !hmac.Equal(b[receiptSize:], s.mac(q, b[:receiptSize])) {
		return r, taken, fail(hansom.Invalid, "ReceiptHandleIsInvalid", `The input receipt handle "%s" is not a valid receipt handle.`, handle)
	}
	r = backlog.Receipt{Seq: binary.BigEndian.Uint64(b), Take: int(binary.BigEndian.Uint32(b[8:]))}
	return r, time.UnixMicro(int64(binary.BigEndian.Uint64(b[12:]))), nil
}
