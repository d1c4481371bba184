package queue

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
)

// ReceiveInput says what is to be received. nil means what the queue says.
type ReceiveInput struct {
	Max        *int64 // 1 to 10; nil means 1
	Visibility *int64 // seconds
	Wait       *int64 // seconds
	Attempt    string // ReceiveRequestAttemptId: of a FIFO queue, the same messages again when an answer was lost
}

// ReceiveMessages takes messages, or waits for some. Messages that were taken too often go to the dead-letter queue instead. It
// ends early, without messages, when ctx does. Errors: QueueDoesNotExist, OverLimit, InvalidParameterValueException; Unavailable.
func (s *Service) ReceiveMessages(ctx context.Context, project, name string, in ReceiveInput) ([]Message, error) {
	q, err := s.Get(project, name)
	if err != nil {
		return nil, err
	}
	hidden, wait, limit := q.visibility, q.wait, 1
	switch {
	case in.Max != nil && (*in.Max < 1 || *in.Max > MaxBatch):
		return nil, invalid("Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and %d, if provided.", *in.Max, MaxBatch)
	case in.Wait != nil && (*in.Wait < 0 || *in.Wait > maxWait):
		return nil, invalid("Value %d for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= %d, if provided.", *in.Wait, maxWait)
	case in.Attempt != "" && !q.fifo:
		return nil, wrongKind("ReceiveRequestAttemptId", in.Attempt)
	case in.Attempt != "" && !idPattern.MatchString(in.Attempt):
		return nil, invalid("Value %s for parameter ReceiveRequestAttemptId is invalid. Reason: ReceiveRequestAttemptId can only include alphanumeric and punctuation characters. 1 to 128 in length.", in.Attempt)
	}
	if in.Max != nil {
		limit = int(*in.Max)
	}
	if in.Visibility != nil {
		if hidden, err = visibility(*in.Visibility); err != nil {
			return nil, err
		}
	}
	if in.Wait != nil {
		wait = time.Duration(*in.Wait) * time.Second
	}
	if in.Attempt != "" {
		if list, ok := s.again(ctx, q, in.Attempt, hidden); ok {
			return list, nil
		}
	}
	list, err := s.take(ctx, q, backlog.Take{Limit: limit, Hidden: hidden, Wait: wait})
	if err == nil && in.Attempt != "" && len(list) > 0 {
		s.remember(q, in.Attempt, list, hidden)
	}
	return list, err
}

func visibility(seconds int64) (time.Duration, error) {
	if seconds < 0 || seconds > int64(maxVisibility/time.Second) {
		return 0, invalid("Value %d for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200, if provided.", seconds)
	}
	return time.Duration(seconds) * time.Second, nil
}

// take takes messages from the backlog, and buries those that were taken too often.
func (s *Service) take(ctx context.Context, q *Queue, t backlog.Take) ([]Message, error) {
	if t.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ending, cancel)()
	}
	deadline := s.cfg.Now().Add(t.Wait)
	for {
		room := s.cfg.InFlight - s.backlog.Counts(q.log).InFlight
		if room <= 0 && q.fifo {
			return nil, nil
		}
		if room <= 0 {
			return nil, fail(hansom.Throttled, "OverLimit", "Too many messages are in flight for the queue %s: delete those that are done with.", q.Name)
		}
		now := s.cfg.Now()
		t.Limit, t.Wait, t.Since = min(t.Limit, room), deadline.Sub(now), now.Add(-q.retention)
		taken, err := s.backlog.Take(ctx, q.log, t)
		if err != nil {
			return nil, err
		}
		if len(taken) == 0 {
			_, err := s.Get(q.Project, q.Name) // it may have been deleted meanwhile
			return nil, err
		}
		now = s.cfg.Now()
		target := s.deadLetters(q)
		list := make([]Message, 0, len(taken))
		for i := range taken {
			m, e, err := message(q, &taken[i])
			if err != nil {
				return nil, err
			}
			if target != nil && taken[i].Takes > q.redrive.Max {
				if err := s.bury(ctx, q, target, &taken[i], e); err != nil {
					s.logger.Warn("a message could not be moved to the dead-letter queue; it is tried again", "queue", q.ARN(), "message", m.ID, "error", err)
				}
				continue
			}
			m.Handle = s.handle(q, m.receipt, now)
			list = append(list, m)
		}
		if len(list) > 0 {
			return list, nil
		}
	}
}

// deadLetters is the dead-letter queue of q, nil when it has none that is there.
func (s *Service) deadLetters(q *Queue) *Queue {
	if q.redrive == nil {
		return nil
	}
	project, name, ok := s.local(q.redrive.Target)
	if !ok {
		return nil
	}
	target := s.view.find(project, name)
	if target == nil || target.fifo != q.fifo || target.log == q.log {
		return nil
	}
	return target
}

// local splits the ARN of a queue.
func (s *Service) local(arn string) (project, name string, ok bool) {
	a, err := hansom.ParseARN(arn)
	return a.Account, a.Resource, err == nil && a.Service == "sqs" && a.Region == s.cfg.Region
}

// bury moves a message that was taken too often to the dead-letter queue, with its id. The attempt to take it does not count.
func (s *Service) bury(ctx context.Context, q, target *Queue, m *backlog.Message, e envelope) error {
	e.Takes, e.Source = e.Takes+m.Takes-1, q.ARN()
	if e.First == 0 {
		e.First = m.First.UnixMicro()
	}
	x := backlog.Entry{ID: m.ID}
	if !q.fifo {
		x.Sent = m.Sent // how long it is kept counts from when it was sent; in a FIFO queue from now
	}
	if err := s.transfer(context.WithoutCancel(ctx), q, target, m, e, x); err != nil {
		return err
	}
	s.announce.Tell(hansom.Announcement{Project: q.Project, Type: "Message Dead-Lettered", Resources: []string{q.ARN(), target.ARN()}, Detail: map[string]any{
		"queue": q.Name, "deadLetterQueue": target.Name, "messageId": m.ID, "receives": e.Takes}})
	return nil
}

// transfer puts a message into another queue as x and ends it here. A deduplication id of its own keeps it from being there twice when a
// crash comes between.
func (s *Service) transfer(ctx context.Context, q, target *Queue, m *backlog.Message, e envelope, x backlog.Entry) error {
	_, body, err := unwrap(m.Body)
	if err != nil {
		return err
	}
	if e.Dedup == "" && q.fifo {
		e.Dedup = m.Dedup
	}
	x.Dedup = "\n" + q.id + "\n" + sequence(m.Seq)
	if target.fifo {
		x.Group = m.Group
	}
	x.Body = e.wrap(string(body))
	if _, err := s.backlog.Put(ctx, target.log, x); err != nil {
		return err
	}
	_, err = s.backlog.Delete(ctx, q.log, m.Receipt)
	return err
}

// DeleteMessage ends a message. One that has ended is no error. Errors: QueueDoesNotExist, ReceiptHandleIsInvalid; of a FIFO queue
// InvalidParameterValueException when the message is in flight no longer; Unavailable.
func (s *Service) DeleteMessage(ctx context.Context, project, name, handle string) error {
	q, err := s.Get(project, name)
	if err != nil {
		return err
	}
	return s.delete(ctx, q, handle)
}

func (s *Service) delete(ctx context.Context, q *Queue, handle string) error {
	r, _, err := s.receipt(q, handle)
	if err != nil {
		return err
	}
	if q.fifo {
		if st := s.backlog.Standing(q.log, r); st == backlog.Shown || st == backlog.Stale {
			return invalid("Value %s for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.", handle)
		}
	}
	_, err = s.backlog.Delete(ctx, q.log, r)
	return err
}

// DeleteBatch ends messages and tells the errors of each. Error of the whole: QueueDoesNotExist.
func (s *Service) DeleteBatch(ctx context.Context, project, name string, handles []string) ([]error, error) {
	q, err := s.Get(project, name)
	if err != nil {
		return nil, err
	}
	return s.each(handles, func(h string) error { return s.delete(ctx, q, h) }), nil
}

// each calls f for several handles at a time.
func (s *Service) each(handles []string, f func(string) error) []error {
	errs := make([]error, len(handles))
	var g errgroup.Group
	g.SetLimit(MaxBatch)
	for i, h := range handles {
		g.Go(func() error {
			errs[i] = f(h)
			return nil
		})
	}
	_ = g.Wait()
	return errs
}

// ChangeVisibility changes for how many seconds a message that was received is hidden, from now on; 0 shows it. Errors: QueueDoesNotExist,
// ReceiptHandleIsInvalid, InvalidParameterValueException; Unavailable.
func (s *Service) ChangeVisibility(ctx context.Context, project, name, handle string, seconds int64) error {
	q, err := s.Get(project, name)
	if err != nil {
		return err
	}
	hidden, err := visibility(seconds)
	if err != nil {
		return err
	}
	return s.changeVisibility(ctx, q, handle, hidden)
}

func (s *Service) changeVisibility(ctx context.Context, q *Queue, handle string, hidden time.Duration) error {
	r, taken, err := s.receipt(q, handle)
	if err != nil {
		return err
	}
	if s.cfg.Now().Sub(taken)+hidden > maxVisibility && hidden > 0 {
		return invalid("Value %d for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds].", int64(hidden/time.Second))
	}
	ok, err := s.backlog.Release(ctx, q.log, r, hidden, nil)
	if ok || err != nil {
		return err
	}
	if st := s.backlog.Standing(q.log, r); st == backlog.Gone || st == backlog.Stale {
		return invalid("Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", handle)
	}
	return nil // it can be taken again, which SQS takes for done
}

// VisibilityChange is a change of one message in a batch.
type VisibilityChange struct {
	Handle  string
	Seconds int64
}

// ChangeVisibilityBatch is ChangeVisibility of several messages. Error of the whole: QueueDoesNotExist.
func (s *Service) ChangeVisibilityBatch(ctx context.Context, project, name string, changes []VisibilityChange) ([]error, error) {
	q, err := s.Get(project, name)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(changes))
	for i, c := range changes {
		hidden, err := visibility(c.Seconds)
		if err == nil {
			err = s.changeVisibility(ctx, q, c.Handle, hidden)
		}
		errs[i] = err
	}
	return errs, nil
}

// Purge ends all messages of a queue. Errors: QueueDoesNotExist, PurgeQueueInProgress within a minute of another one; Unavailable.
func (s *Service) Purge(ctx context.Context, project, name string) error {
	q, err := s.Get(project, name)
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	s.mu.Lock()
	last, ok := s.purged[q.id]
	if ok = ok && now.Sub(last) < purgeEvery; !ok {
		s.purged[q.id] = now
	}
	s.mu.Unlock()
	if ok {
		return fail(hansom.Denied, "PurgeQueueInProgress", "Only one PurgeQueue operation on %s is allowed every 60 seconds.", q.Name)
	}
	return s.backlog.Purge(ctx, q.log)
}

// attempt is what a receive request with an id got.
type attempt struct {
	messages []Message
	size     int // bytes
	expires  time.Time
}

const (
	attemptLife = 5 * time.Minute // of a ReceiveRequestAttemptId, as SQS has it
	attemptRoom = 16 << 20        // bytes of messages that are remembered for such requests
)

// remember keeps what a request got, while there is room.
func (s *Service) remember(q *Queue, id string, list []Message, hidden time.Duration) {
	now := s.cfg.Now()
	a := attempt{list, 0, now.Add(min(hidden, attemptLife))}
	for i := range list {
		a.size += 1024 + len(list[i].Body)
	}
	s.forget(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := q.id + "/" + id
	s.drop(key)
	if s.attempted+a.size <= attemptRoom {
		s.attempts[key] = a
		s.attempted += a.size
	}
}

// drop forgets what a request got. mu is held.
func (s *Service) drop(key string) {
	s.attempted -= s.attempts[key].size
	delete(s.attempts, key)
}

// again returns what an earlier request with the same id got, hidden anew, unless one of the messages was deleted or shown since.
func (s *Service) again(ctx context.Context, q *Queue, id string, hidden time.Duration) ([]Message, bool) {
	key := q.id + "/" + id
	s.mu.Lock()
	a, ok := s.attempts[key]
	s.mu.Unlock()
	if !ok || !s.cfg.Now().Before(a.expires) {
		return nil, false
	}
	for i := range a.messages {
		if s.backlog.Standing(q.log, a.messages[i].receipt) != backlog.Hidden {
			return nil, false
		}
	}
	for i := range a.messages {
		if ok, err := s.backlog.Release(ctx, q.log, a.messages[i].receipt, hidden, nil); !ok || err != nil {
			return nil, false
		}
	}
	return a.messages, true
}

// Select returns the attributes that names ask for: by name, all with "All" or ".*", and with "foo.*" those that begin with "foo".
func Select(attributes map[string]Attribute, names []string) map[string]Attribute {
	out := map[string]Attribute{}
	for key, a := range attributes {
		for _, name := range names {
			prefix, isPrefix := strings.CutSuffix(name, ".*")
			if name == key || name == "All" || name == "*" || isPrefix && strings.HasPrefix(key, prefix) {
				out[key] = a
				break
			}
		}
	}
	return out
}
