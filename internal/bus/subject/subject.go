// Package subject has subjects of NATS as sources of event source mappings: each mapping is a durable consumer of JetStream in the
// account of its project.
package subject

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
)

// Service is the word for NATS in an ARN: arn:aws:nats:REGION:PROJECT:SUBJECT.
const Service = "nats"

// What a mapping's messages are subject to.
const (
	// Visibility is the longest that a message is a mapping's after it was polled.
	Visibility = 30 * time.Minute
	ackWait    = 30 * time.Second // after a crash of the server, before they come again
	progress   = 10 * time.Second // how often the server is told that they are worked on
	minDelay   = time.Second      // before a message comes again that failed; it doubles
	maxDelay   = 5 * time.Minute
	maxFetch   = 100 // messages of a poll, which are in memory at once
	apiTimeout = 10 * time.Second
)

// Of streams that are made for a mapping.
const (
	keep       = 4 * 24 * time.Hour // as SQS does
	maxMessage = 4 << 20            // bytes; the payload of a function has 6 MB, and base64 makes a third more of them
)

// Source takes messages for mappings. Its methods may be called from several goroutines.
type Source struct {
	bus    *bus.Bus
	region string
	logger *slog.Logger

	mu        sync.Mutex
	consumers map[string]consumer // by mapping
	taken     map[string]taken    // by handle

	now func() time.Time
}

// consumer is the one of a mapping.
type consumer struct {
	jetstream.Consumer
	stream string
}

// taken is a message that a mapping has.
type taken struct {
	conn       *nats.Conn
	deliveries uint64
	since      time.Time
}

// New makes a source on b. Run must be called for messages to stay with those who poll them.
func New(b *bus.Bus, region string, logger *slog.Logger) *Source {
	return &Source{bus: b, region: region, logger: logger.With("component", "subject"), consumers: map[string]consumer{}, taken: map[string]taken{}, now: time.Now}
}

// Run tells the server of what is worked on, until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	ticker := time.NewTicker(progress)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.extend()
		}
	}
}

func (s *Source) extend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for handle, t := range s.taken {
		if s.now().Sub(t.since) > Visibility {
			delete(s.taken, handle) // nobody will end it
		} else if err := t.conn.Publish(handle, []byte("+WPI")); err != nil {
			s.logger.Debug("a message could not be held", "error", err)
		}
	}
}

// parse reads the ARN of a subject. Errors: NotFound for one of another region; Invalid.
func (s *Source) parse(arn string) (project, subject string, err error) {
	const op = "check event source"
	a, err := hansom.ParseARN(arn)
	switch {
	case err != nil || a.Service != Service:
		return "", "", hansom.Errorf(hansom.Invalid, op, "Unrecognized event source.")
	case a.Region != s.region:
		return "", "", hansom.Errorf(hansom.NotFound, op, "%s is not in the region of this server, %s", arn, s.region)
	}
	return a.Account, a.Resource, hansom.CheckSubject(a.Resource)
}

// Check says whether messages can be taken from a subject, and for how long they are a mapping's then. Errors: Invalid; NotFound when this
// server does not serve NATS.
func (s *Source) Check(arn string) (visibility time.Duration, err error) {
	_, _, err = s.parse(arn)
	if err == nil && s.bus.Addr() == "" {
		err = hansom.Errorf(hansom.NotFound, "check event source", "This server does not serve NATS; start it with --nats.")
	}
	return Visibility, err
}

// Begin makes the consumer of a mapping, and a stream for its subject where there is none. Errors: Invalid; Unavailable.
func (s *Source) Begin(ctx context.Context, arn, mapping string) error {
	_, err := s.begin(ctx, arn, mapping)
	return err
}

func (s *Source) begin(ctx context.Context, arn, mapping string) (consumer, error) {
	s.mu.Lock()
	c, ok := s.consumers[mapping]
	s.mu.Unlock()
	if ok {
		return c, nil
	}
	project, subject, err := s.parse(arn)
	if err != nil {
		return c, err
	}
	js, err := s.connect(project)
	if err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if c.stream, err = stream(ctx, js, subject); err != nil {
		return c, err
	}
	c.Consumer, err = js.CreateOrUpdateConsumer(ctx, c.stream, jetstream.ConsumerConfig{
		Durable: durable(mapping), Description: "event source mapping " + mapping, FilterSubject: subject,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: -1,
	})
	if err != nil {
		return c, refused(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumers[mapping] = c
	return c, nil
}

func (s *Source) connect(project string) (jetstream.JetStream, error) {
	conn, err := s.bus.Connect(project)
	if err != nil {
		return nil, err
	}
	return jetstream.New(conn)
}

func durable(mapping string) string { return "hansom-" + mapping }

// stream finds the stream that has a subject, or makes one.
func stream(ctx context.Context, js jetstream.JetStream, subject string) (string, error) {
	names := js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
	var list []string
	for name := range names.Name() {
		list = append(list, name)
	}
	switch {
	case names.Err() != nil:
		return "", refused(names.Err())
	case len(list) == 1:
		return list[0], nil
	case len(list) > 1:
		return "", hansom.Errorf(hansom.Invalid, "check event source", "The subject %s is in several streams: %s. Make a mapping for each.", subject, strings.Join(list, ", "))
	}
	name := streamName(subject)
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Description: "made for event source mappings", Subjects: []string{subject}, Storage: jetstream.FileStorage,
		Retention: jetstream.InterestPolicy, MaxAge: keep, MaxMsgSize: maxMessage,
	})
	if err != nil {
		return "", refused(err)
	}
	return name, nil
}

// unnamable is what cannot stand in the name of a stream.
var unnamable = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// streamName is the name of a stream that is made for a subject.
func streamName(subject string) string {
	plain := strings.Trim(unnamable.ReplaceAllString(subject, "_"), "_")
	return fmt.Sprintf("mapping-%.64s-%.4x", plain, sha256.Sum256([]byte(subject)))
}

// refused gives an error of NATS a kind: what it says of a request is the user's to change.
func refused(err error) error {
	const op = "check event source"
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code < 500 {
		return hansom.Errorf(hansom.Invalid, op, "NATS refuses the event source: %s.", api.Description)
	}
	return hansom.Errorf(hansom.Unavailable, op, "NATS does not answer: %w", err)
}

// End removes the consumer of a mapping that is no more. Error: Unavailable.
func (s *Source) End(ctx context.Context, arn, mapping string) error {
	s.mu.Lock()
	c, ok := s.consumers[mapping]
	delete(s.consumers, mapping)
	s.mu.Unlock()
	project, subject, err := s.parse(arn)
	if err != nil {
		return err
	}
	js, err := s.connect(project)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if !ok {
		if c.stream, err = js.StreamNameBySubject(ctx, subject); errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
	}
	if err == nil {
		err = js.DeleteConsumer(ctx, c.stream, durable(mapping))
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return refused(err)
	}
	return nil
}

// forget has a consumer looked for again at the next poll.
func (s *Source) forget(mapping string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.consumers, mapping)
}
