package subject

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom"
)

// traceHeader carries the chain of invocations that a message comes from.
const traceHeader = "X-Amzn-Trace-Id"

// Poll takes up to limit messages for a mapping, or waits for one: none after wait, or when ctx ends, is no error. They are the mapping's
// until Done or Show, for Visibility at most. Errors: Invalid; Unavailable.
func (s *Source) Poll(ctx context.Context, arn, mapping string, limit int, wait time.Duration) ([]hansom.Polled, error) {
	c, err := s.begin(ctx, arn, mapping)
	if err != nil {
		return nil, err
	}
	project, _, err := s.parse(arn)
	if err != nil {
		return nil, err
	}
	conn, err := s.bus.Connect(project)
	if err != nil {
		return nil, err
	}
	limit = min(limit, maxFetch)
	list, err := s.fetch(ctx, conn, arn, nil, func() (jetstream.MessageBatch, error) { return c.FetchNoWait(limit) })
	if err == nil && len(list) == 0 {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		list, err = s.fetch(ctx, conn, arn, nil, func() (jetstream.MessageBatch, error) { return c.Fetch(1, jetstream.FetchContext(ctx)) })
		if err == nil && len(list) > 0 && limit > 1 { // more may have come with it
			list, err = s.fetch(ctx, conn, arn, list, func() (jetstream.MessageBatch, error) { return c.FetchNoWait(limit - 1) })
		}
	}
	if len(list) > 0 || err == nil {
		return list, nil
	}
	s.forget(mapping) // its consumer may be gone
	return nil, hansom.Errorf(hansom.Unavailable, "poll subject", "NATS does not answer: %w", err)
}

// fetch adds the messages of a batch to list.
func (s *Source) fetch(ctx context.Context, conn *nats.Conn, arn string, list []hansom.Polled, start func() (jetstream.MessageBatch, error)) ([]hansom.Polled, error) {
	if ctx.Err() != nil {
		return list, nil
	}
	batch, err := start()
	if err != nil {
		return list, err
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return list, err
		}
		handle := m.Reply()
		s.mu.Lock()
		s.taken[handle] = taken{conn, meta.NumDelivered, s.now()}
		s.mu.Unlock()
		list = append(list, hansom.Polled{ID: strconv.FormatUint(meta.Sequence.Stream, 10), Record: s.record(arn, m, meta), Handle: handle})
	}
	if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, jetstream.ErrNoMessages) && ctx.Err() == nil {
		return list, err
	}
	return list, nil
}

// record is the message as a function gets it: an element of Records.
func (s *Source) record(arn string, m jetstream.Msg, meta *jetstream.MsgMetadata) []byte {
	headers := m.Headers()
	if headers == nil {
		headers = nats.Header{}
	}
	data := m.Data()
	if data == nil {
		data = []byte{}
	}
	attributes := map[string]string{}
	if trace := headers.Get(traceHeader); trace != "" {
		attributes["AWSTraceHeader"] = trace
	}
	text, _ := json.Marshal(struct { // strings and numbers: it cannot fail
		Source     string            `json:"eventSource"`
		ARN        string            `json:"eventSourceARN"`
		Region     string            `json:"awsRegion"`
		Stream     string            `json:"stream"`
		Sequence   string            `json:"sequence"`
		Subject    string            `json:"subject"`
		Timestamp  string            `json:"timestamp"`
		Deliveries uint64            `json:"deliveries"`
		Headers    nats.Header       `json:"headers"`
		Attributes map[string]string `json:"attributes"`
		Data       []byte            `json:"data"`
	}{"hansom:nats", arn, s.region, meta.Stream, strconv.FormatUint(meta.Sequence.Stream, 10), m.Subject(), meta.Timestamp.UTC().Format(time.RFC3339Nano),
		meta.NumDelivered, headers, attributes, data})
	return text
}

// Done ends messages that were polled. It does not wait for the server: one that has not heard of it delivers them again.
func (s *Source) Done(_ context.Context, arn string, handles []string) error {
	return s.answer(arn, handles, func(uint64) []byte { return []byte("+ACK") })
}

// Show gives messages back, which come again after a second, and after twice as long each time, up to five minutes.
func (s *Source) Show(_ context.Context, arn string, handles []string, _ time.Duration) error {
	return s.answer(arn, handles, func(deliveries uint64) []byte {
		delay := min(minDelay<<min(max(deliveries, 1)-1, 16), maxDelay)
		return append(strconv.AppendInt([]byte(`-NAK {"delay": `), int64(delay), 10), '}')
	})
}

func (s *Source) answer(arn string, handles []string, body func(deliveries uint64) []byte) error {
	project, _, err := s.parse(arn)
	if err != nil {
		return err
	}
	conn, err := s.bus.Connect(project)
	if err != nil {
		return err
	}
	var failed error
	for _, handle := range handles {
		s.mu.Lock()
		t := s.taken[handle]
		delete(s.taken, handle)
		s.mu.Unlock()
		if err := conn.Publish(handle, body(t.deliveries)); err != nil {
			failed = hansom.Errorf(hansom.Unavailable, "answer message", "NATS does not answer: %w", err)
		}
	}
	return failed
}
