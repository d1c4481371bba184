package function

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// retryDelay is how long Run waits after it could not read or write.
const retryDelay = time.Second

func (s *Service) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been told already
	}
}

// activateSoon hands a function to Run.
func (s *Service) activateSoon(key string) {
	w := &s.view.waiting
	w.Lock()
	if w.keys == nil {
		w.keys = map[string]bool{}
	}
	w.keys[key] = true
	w.Unlock()
	s.wakeUp()
}

func (s *Service) takeWaiting() map[string]bool {
	w := &s.view.waiting
	w.Lock()
	defer w.Unlock()
	keys := w.keys
	w.keys = nil
	return keys
}

// Run brings functions from Pending to Active and updates from InProgress to Successful, also those that a crash interrupted.
// It ends with ctx, when those under way have ended.
func (s *Service) Run(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(max(1, s.cfg.Activations))
	defer group.Wait()
	for {
		for key := range s.takeWaiting() {
			group.Go(func() error {
				project, name := noted(key)
				if err := s.activate(ctx, project, name); err != nil && ctx.Err() == nil {
					s.log.Error("activation is tried again", "function", s.arn(project, name, ""), "error", err)
					sleep(ctx, retryDelay)
					s.activateSoon(key)
				}
				return nil
			})
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// outcome of activating one version.
type outcome struct {
	warning string
	failure error
	code    string // reason code of the failure
}

// activate unpacks what the pending versions of a function need and records how that went. It returns an error only when it
// could not find out or record it: then the function stays pending and activate is called again.
func (s *Service) activate(ctx context.Context, project, name string) error {
	const pending = `WHERE v.project = ? AND v.name = ? AND (v.state = 'Pending' OR v.update_status = 'InProgress')`
	records, err := s.records(ctx, s.db.Read(), pending, project, name)
	if err != nil || len(records) == 0 {
		return err
	}
	outcomes := map[string]outcome{} // by RevisionID: who writes meanwhile makes it pending anew
	for i := range records {
		r := &records[i]
		var o outcome
		o.code = reasonCodeZip
		var release func()
		if _, _, release, o.failure = s.Code(ctx, &r.Version); o.failure == nil {
			release()
			o.code = reasonCodeRuntime
			o.warning, o.failure = s.runtimes.CheckRuntime(r.Runtime)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		outcomes[r.RevisionID] = o
		switch {
		case o.failure != nil:
			s.log.Error("function cannot be activated", "function", r.ARN(), "error", o.failure)
		case o.warning != "":
			s.log.Warn(o.warning, "function", r.ARN())
		}
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		records, err := s.records(ctx, tx, pending, project, name)
		if err != nil {
			return err
		}
		for i := range records {
			r := &records[i]
			o, ok := outcomes[r.RevisionID]
			if !ok {
				continue
			}
			s.settle(r, o)
			if err := s.save(ctx, tx, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// settle ends the pending state of a version.
func (s *Service) settle(r *record, o outcome) {
	r.RevisionID = s.newID()
	if o.failure == nil {
		r.State, r.StateReason, r.StateReasonCode = StateActive, o.warning, ""
		r.LastUpdateStatus, r.LastUpdateStatusReason, r.LastUpdateStatusReasonCode = UpdateSuccessful, "", ""
		return
	}
	reason, code := "The code could not be unpacked on this host; see the server's log.", reasonCodeInternal
	var e *hansom.Error
	if errors.As(o.failure, &e) && e.Kind != hansom.Internal {
		reason, code = e.Message, o.code
	}
	if r.State == StatePending {
		r.State, r.StateReason, r.StateReasonCode = StateFailed, reason, code
	}
	r.LastUpdateStatus, r.LastUpdateStatusReason, r.LastUpdateStatusReasonCode = UpdateFailed, reason, code
}
