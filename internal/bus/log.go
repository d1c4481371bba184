package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom"
)

// metaHeader carries Record.Meta.
const metaHeader = "M"

// scanBatch is how many records of a scan are under way at a time.
const scanBatch = 4096

// scanWait is how long a scan waits for the next record at first before it asks whether there is one.
const scanWait = time.Second

// LogConfig says what a log is.
type LogConfig struct {
	Name    string // letters, digits, "-" and "_"
	Subject string // all subjects of its records, with ">" at the end
	// Last keeps the latest record of each subject alone, and lets records have a TTL.
	Last bool
}

// Record is an entry of a log.
type Record struct {
	Seq     uint64 // its place in the log, from 1; set by the log
	Subject string
	Meta    string // one line of text, for what is read without the data
	Data    []byte
	TTL     time.Duration // of a log of last records: it is removed after this, whole seconds; 0 keeps it
}

// Log is a stream of records. Its methods may be called from several goroutines.
type Log struct {
	bus     *Bus
	stream  jetstream.Stream
	name    string
	subject string // of its anchor

	appended atomic.Uint64
	mu       sync.Mutex
	anchor   uint64 // place of the anchor
}

// A log always has one record of its own, the anchor, never far from the end: JetStream deletes a file that has no record left and makes
// another one, each time, which takes longer than all else that a message needs.
const (
	anchorToken = "_anchor"
	anchorEvery = 1024 // records
)

// Log opens a log, or makes it.
func (b *Bus) Log(ctx context.Context, cfg LogConfig) (*Log, error) {
	sc := jetstream.StreamConfig{
		Name: b.names + cfg.Name, Subjects: []string{b.subjects + cfg.Subject}, Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: b.replicas,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, Duplicates: time.Second,
		AllowDirect: b.replicas == 1, // a replica may not have a record yet, and would say that it is gone
	}
	if cfg.Last {
		sc.MaxMsgsPerSubject, sc.AllowMsgTTL = 1, true
	}
	s, err := b.js.CreateOrUpdateStream(ctx, sc)
	if err != nil {
		return nil, failed("open log", err)
	}
	l := &Log{bus: b, stream: s, name: sc.Name, subject: b.subjects + strings.TrimSuffix(cfg.Subject, ">") + anchorToken}
	if err := l.setAnchor(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs = append(b.logs, l)
	return l, nil
}

// setAnchor writes a new anchor, and removes those from before.
func (l *Log) setAnchor(ctx context.Context) error {
	ack, err := l.bus.js.Publish(ctx, l.subject, nil)
	if err == nil {
		err = l.stream.Purge(ctx, jetstream.WithPurgeSubject(l.subject), jetstream.WithPurgeSequence(ack.Sequence))
	}
	if err != nil {
		return failed("open log", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.anchor = ack.Sequence
	return nil
}

// moveAnchor puts the anchor at the end.
func (l *Log) moveAnchor() {
	f, err := l.bus.js.PublishMsgAsync(&nats.Msg{Subject: l.subject})
	if err != nil {
		return
	}
	go func() {
		select {
		case ack := <-f.Ok():
			l.mu.Lock()
			old := min(l.anchor, ack.Sequence)
			l.anchor = max(l.anchor, ack.Sequence)
			l.mu.Unlock()
			l.Forget(old)
		case <-f.Err():
		}
	}()
}

// Appended are records on their way into a log.
type Appended struct {
	futures []jetstream.PubAckFuture
	broken  <-chan struct{}
	err     error
}

// Append sends records in their order, which no other call's come between if the caller sees to it, and does not wait: Appended.Wait
// says what came of it.
func (l *Log) Append(records ...Record) Appended {
	if err := l.bus.enter("append"); err != nil {
		return Appended{err: err}
	}
	defer l.bus.gate.RUnlock()
	a := Appended{futures: make([]jetstream.PubAckFuture, 0, len(records)), broken: l.bus.health.Load().broken}
	for i := range records {
		m := &nats.Msg{Subject: l.bus.subjects + records[i].Subject, Data: records[i].Data}
		if records[i].Meta != "" || records[i].TTL > 0 {
			m.Header = nats.Header{}
		}
		if records[i].Meta != "" {
			m.Header[metaHeader] = []string{records[i].Meta}
		}
		if records[i].TTL > 0 {
			m.Header[jetstream.MsgTTLHeader] = []string{max(records[i].TTL.Truncate(time.Second), time.Second).String()}
		}
		f, err := l.bus.js.PublishMsgAsync(m)
		if err != nil {
			a.err = failed("append", err)
			break
		}
		a.futures = append(a.futures, f)
	}
	if n := uint64(len(records)); (l.appended.Add(n)-n)/anchorEvery != l.appended.Load()/anchorEvery {
		l.moveAnchor()
	}
	return a
}

// Wait returns the places of the records once all of them are stored. When it fails some may be stored all the same; those that
// are known to be have a place. It does not end before the log has answered, or has not for 30 s, or could not write for 3 s.
func (a Appended) Wait() ([]uint64, error) {
	seqs, err := make([]uint64, len(a.futures)), a.err
	for i, f := range a.futures {
		ack, e := await(f, a.broken)
		if ack != nil {
			seqs[i] = ack.Sequence
		} else if err == nil {
			err = failed("append", e)
		}
	}
	return seqs, err
}

// Delete removes the record at seq. One that is not there is no error. It is gone for good when Delete returns.
func (l *Log) Delete(ctx context.Context, seq uint64) error {
	_, err := l.bus.request(ctx, "delete record", "$JS.API.STREAM.MSG.DELETE."+l.name, struct {
		Seq     uint64 `json:"seq"`
		NoErase bool   `json:"no_erase"`
	}{seq, true})
	var api *jetstream.APIError
	switch {
	case !errors.As(err, &api):
	case api.ErrorCode == noSequence, api.ErrorCode == notDeleted && (api.Description == server.ErrStoreMsgNotFound.Error() || api.Description == server.ErrStoreEOF.Error()):
		return nil
	case api.ErrorCode == notDeleted:
		l.bus.fail(true, api.Description)
	}
	return err
}

// Error codes of JetStream's deletion of a message: it is not there, and any other reason.
const (
	noSequence = 10043
	notDeleted = 10057
)

// Forget removes the record at seq some time soon, and does not say whether it did.
func (l *Log) Forget(seq uint64) {
	_ = l.bus.conn.Publish("$JS.API.STREAM.MSG.DELETE."+l.name, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, seq))
}

// Read returns the record at seq. The error is NotFound when it is not there any more.
func (l *Log) Read(ctx context.Context, seq uint64) (Record, error) {
	if err := l.bus.look("read record"); err != nil {
		return Record{}, err
	}
	defer l.bus.gate.RUnlock()
	m, err := l.stream.GetMsg(ctx, seq)
	if err != nil {
		return Record{}, failed("read record", err)
	}
	return Record{Seq: m.Sequence, Subject: strings.TrimPrefix(m.Subject, l.bus.subjects), Meta: m.Header.Get(metaHeader), Data: m.Data}, nil
}

// Purge removes all records of a subject, which may end with ">".
func (l *Log) Purge(ctx context.Context, subject string) error {
	if err := l.bus.enter("purge"); err != nil {
		return err
	}
	defer l.bus.gate.RUnlock()
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSubject(l.bus.subjects+subject)); err != nil {
		return failed("purge", err)
	}
	return nil
}

// Scan calls f with all records that the log has now, in their order; without their data unless data is set. It ends with f's error.
func (l *Log) Scan(ctx context.Context, data bool, f func(Record) error) error {
	if err := l.bus.look("scan"); err != nil {
		return err
	}
	defer l.bus.gate.RUnlock()
	info, err := l.stream.Info(ctx)
	if err != nil {
		return failed("scan", err)
	}
	last := info.State.LastSeq
	if info.State.Msgs == 0 {
		return nil
	}
	next := info.State.FirstSeq
	for wait := scanWait; next <= last; wait = min(2*wait, ackTimeout) { // what does not come is asked for again
		start := next
		if err := l.scan(ctx, &next, last, data, wait, f); err != nil {
			return err
		}
		if next > start {
			wait = scanWait
		}
	}
	return nil
}

// scan calls f with the records from *next to last and moves *next behind them, until all were there or none has come for wait.
func (l *Log) scan(ctx context.Context, next *uint64, last uint64, data bool, wait time.Duration, f func(Record) error) error {
	c, err := l.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(*next, 1), HeadersOnly: !data})
	if err != nil {
		return failed("scan", err)
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(scanBatch))
	if err != nil {
		return failed("scan", err)
	}
	defer messages.Stop()
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for *next <= last {
		m, err := messages.Next(jetstream.NextMaxWait(wait))
		if errors.Is(err, nats.ErrTimeout) { // the last records may have gone meanwhile
			rest, err := l.stream.GetMsg(ctx, *next, jetstream.WithGetMsgSubject(">"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				*next = last + 1
			} else if err != nil {
				return failed("scan", err)
			} else {
				*next = rest.Sequence
			}
			return nil
		}
		if err != nil {
			return failed("scan", errors.Join(err, ctx.Err()))
		}
		meta, err := m.Metadata()
		if err != nil {
			return failed("scan", err)
		}
		if meta.Sequence.Stream <= last && m.Subject() != l.subject {
			if err := f(Record{Seq: meta.Sequence.Stream, Subject: strings.TrimPrefix(m.Subject(), l.bus.subjects), Meta: m.Headers().Get(metaHeader), Data: m.Data()}); err != nil {
				return err
			}
		}
		*next = meta.Sequence.Stream + 1
	}
	return nil
}

// Check refuses a record that is too large for a log.
func Check(r *Record) error {
	if n := len(r.Meta) + len(r.Data); n > MaxPayload-len(r.Subject)-64 {
		return hansom.Errorf(hansom.TooLarge, "append", "a record of %d bytes is too large for the message log (limit %d bytes)", n, MaxPayload)
	}
	return nil
}
