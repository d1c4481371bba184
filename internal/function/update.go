package function

import (
	"context"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// UpdateCode replaces the code of $LATEST. Errors: NotFound, Invalid, Precondition; Conflict while another update is under way.
func (s *Service) UpdateCode(ctx context.Context, project, name string, in UpdateCodeInput) (Function, error) {
	r, err := s.latest(ctx, s.db.Read(), project, name) // refuses early what must not cost an unpacking
	if err == nil {
		err = s.mayUpdate(&r, in.RevisionID)
	}
	if err != nil {
		return Function{}, err
	}
	change := func(r *record, digest string, size int64) error {
		r.CodeSHA256, r.CodeSize = digest, size
		if in.Architecture != "" {
			r.Architecture = in.Architecture
		}
		if err := s.checkUnpacked(ctx, project, digest, in.Code.Zip, r.Layers); err != nil {
			return err
		}
		return s.validate(name, r.settings())
	}
	digest, size, release, err := s.stage(ctx, project, in.Code, !in.DryRun)
	if err != nil {
		return Function{}, err
	}
	defer release()
	if in.DryRun {
		err := change(&r, digest, size)
		return r.Function, err
	}
	return s.update(ctx, project, name, in.RevisionID, in.Publish, func(_ *db.Tx, r *record) error { return change(r, digest, size) })
}

// UpdateConfiguration changes the configuration of $LATEST. Errors as those of UpdateCode.
func (s *Service) UpdateConfiguration(ctx context.Context, project, name string, in UpdateConfigurationInput) (Function, error) {
	return s.update(ctx, project, name, in.RevisionID, false, func(tx *db.Tx, r *record) error {
		set(&r.Runtime, in.Runtime)
		if r.Runtime != hansom.RuntimeHTTP {
			r.Ready = "" // this API cannot say so
		}
		if !hansom.Concurrent(r.Runtime) {
			r.Concurrency = 0
		}
		set(&r.Concurrency, in.Concurrency)
		set(&r.Handler, in.Handler)
		set(&r.Role, in.Role)
		set(&r.Description, in.Description)
		set(&r.Memory, in.Memory)
		set(&r.Ephemeral, in.Ephemeral)
		set(&r.Timeout, in.Timeout)
		set(&r.TracingMode, in.TracingMode)
		set(&r.SnapStart, in.SnapStart)
		if set(&r.DeadLetter, in.DeadLetter); in.DeadLetter != nil {
			if err := s.events.CheckDeadLetter(project, r.DeadLetter); err != nil {
				return err
			}
		}
		logs := logging(r.Logging)
		if err := logs.change(name, in.Logging); err != nil {
			return err
		}
		r.Logging = hansom.Logging(logs)
		if in.Environment != nil {
			r.Environment = in.Environment
		}
		if in.Layers != nil {
			var err error
			if r.Layers, err = s.resolveLayers(ctx, tx, project, in.Layers, nil); err != nil {
				return err
			}
			if err := s.checkUnpacked(ctx, project, r.CodeSHA256, nil, r.Layers); err != nil {
				return err
			}
		}
		return s.validate(name, r.settings())
	})
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// update changes $LATEST in a transaction.
func (s *Service) update(ctx context.Context, project, name, revisionID string, publish bool, change func(tx *db.Tx, r *record) error) (Function, error) {
	var answer record
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		r, err := s.latest(ctx, tx, project, name)
		if err != nil {
			return err
		}
		if err := s.mayUpdate(&r, revisionID); err != nil {
			return err
		}
		if err := change(tx, &r); err != nil {
			return err
		}
		s.startUpdate(&r)
		if err := s.save(ctx, tx, &r); err != nil {
			return err
		}
		answer = r
		if publish {
			answer, err = s.publish(ctx, tx, &r, nil)
			answer.FunctionARN = s.arn(project, name, answer.Number)
		}
		return err
	})
	return answer.Function, err
}

// startUpdate gives $LATEST a new revision that Run has to activate.
func (s *Service) startUpdate(r *record) {
	r.Revision, r.RevisionID, r.LastModified = s.newID(), s.newID(), s.timestamp()
	if r.State != StateActive { // it has never run: the update is a second try to create it
		r.State, r.StateReason, r.StateReasonCode = StatePending, reasonCreating, reasonCodeCreating
	}
	r.LastUpdateStatus, r.LastUpdateStatusReason, r.LastUpdateStatusReasonCode = UpdateInProgress, reasonCreating, reasonCodeCreating
}

// mayUpdate refuses a change that is based on an old state, or that comes while another one is under way.
func (s *Service) mayUpdate(r *record, revisionID string) error {
	if err := checkRevision(revisionID, r.RevisionID); err != nil {
		return err
	}
	return s.settled(r)
}

func (s *Service) settled(r *record) error {
	switch {
	case r.State == StatePending:
		return hansom.Errorf(hansom.Conflict, "update function",
			"The operation cannot be performed at this time. The function is currently in the following state: %s", r.State)
	case r.LastUpdateStatus == UpdateInProgress:
		return hansom.Errorf(hansom.Conflict, "update function",
			"The operation cannot be performed at this time. An update is in progress for resource: %s", s.arn(r.Project, r.Version.Function, ""))
	}
	return nil
}
