package bus

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom"
)

// A stream that could not be written once, as on a full disk, takes nothing any more: JetStream neither answers what is published to
// it nor tries again. Then the bus opens JetStream anew, within the same server: what was acknowledged is in the files, and a record
// that was cut off is removed from them.

// How that is done.
const (
	grace    = 3 * time.Second // for answers that are still to come, once a stream has failed
	minPause = time.Second     // between attempts to open anew; it doubles when they fail
	maxPause = time.Minute
)

// health is whether records can be written.
type health struct {
	broken chan struct{} // closed when they cannot
	reason string        // set before that
}

// failure is how the server's log names a stream that cannot be written.
var failure = regexp.MustCompile(`^JetStream failed to store a msg on stream '(.+?) > `)

// heard looks at a line of the server's log for a stream that has failed: nothing else tells of it. Locks of the server are held.
func (b *Bus) heard(text string) {
	if m := failure.FindStringSubmatch(text); m != nil {
		b.fail(m[1] == server.DEFAULT_GLOBAL_ACCOUNT, text)
	} else if strings.HasPrefix(text, "JetStream out of") || strings.HasPrefix(text, "File system permission denied") {
		b.fail(true, text)
	}
}

// fail notes that a stream cannot be written, and has JetStream opened anew. With own it is one of the platform's, and nothing more is
// written to those until then.
func (b *Bus) fail(own bool, reason string) {
	if b.server == nil {
		return // another server is for others to mend
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if h := b.health.Load(); own && !h.isBroken() {
		h.reason = reason
		close(h.broken)
	}
	if !b.mending && b.ctx.Err() == nil {
		b.mending = true
		b.tasks.Go(b.mend)
	}
}

func (h *health) isBroken() bool {
	select {
	case <-h.broken:
		return true
	default:
		return false
	}
}

// look lets a call ask JetStream: gate is held when it returns nil. Error: Unavailable.
func (b *Bus) look(op string) error {
	if !b.gate.TryRLock() {
		return hansom.Errorf(hansom.Unavailable, op, "the message log is being opened anew; try again in a moment")
	}
	return nil
}

// enter is look for a call that writes.
func (b *Bus) enter(op string) error {
	if err := b.Writable(op); err != nil {
		return err
	}
	return b.look(op)
}

// Writable says whether logs can be written, without trying. Error: Unavailable.
func (b *Bus) Writable(op string) error {
	if h := b.health.Load(); h.isBroken() {
		return hansom.Errorf(hansom.Unavailable, op, "the message log could not be written, and goes on when the disk has room: %s", h.reason)
	}
	return nil
}

// await returns the answer to a record that was published. Once the log is broken it waits a little only: streams that have failed do
// not answer.
func await(f jetstream.PubAckFuture, broken <-chan struct{}) (*jetstream.PubAck, error) {
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-broken:
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-timer.C:
		return nil, hansom.Errorf(hansom.Unavailable, "append", "the message log could not be written; see the server's log")
	}
}

// mend opens JetStream anew as soon as there is room, until it can be written.
func (b *Bus) mend() {
	told := false
	for wait, pause := grace, minPause; ; wait = pause {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return
		}
		if err := b.cfg.Room(); err != nil {
			if !told {
				b.logger.Error("the message log could not be written, and is opened anew when there is room", "error", err)
			}
			told = true
			continue
		}
		err := b.reopen()
		if err == nil {
			break
		}
		b.logger.Error("the message log could not be opened anew; tried again", "error", err)
		pause = min(2*pause, maxPause)
	}
	b.logger.Warn("the message log was opened anew after it could not be written; nothing that was accepted is lost")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mending = false
	if b.health.Load().isBroken() {
		b.health.Store(&health{broken: make(chan struct{})})
	}
}

// reopen closes JetStream and opens it again. Each log is written then.
func (b *Bus) reopen() error {
	b.gate.Lock()
	defer b.gate.Unlock()
	ctx, cancel := context.WithTimeout(b.ctx, startTimeout)
	defer cancel()
	if err := b.server.ShutdownJetStream(); err != nil {
		return failed("reopen", err)
	}
	cfg := b.store
	if err := b.server.EnableJetStream(&cfg); err != nil {
		return failed("reopen", err)
	}
	b.accounts.Lock()
	b.limit()
	b.accounts.Unlock()
	b.mu.Lock()
	logs := b.logs
	b.mu.Unlock()
	for _, l := range logs {
		if err := l.setAnchor(ctx); err != nil {
			return err
		}
	}
	return nil
}
