package function

import (
	"context"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Deploy makes a function of an app, or brings $LATEST to what v says, within the caller's transaction. Its package must be
// uploaded (see Prepare). Of v it takes Project, Function, App, Description, Runtime, Handler, Role, CodeSHA256, Memory, Ephemeral,
// Timeout, Concurrency, Ready, Egress, Environment, DeadLetter and Layers; zero values mean the defaults, and a role of the function's own name. Of layers
// the ARN is enough; those with a digest are used though they were deleted. It says whether anything changed.
// Errors: Invalid; NotFound for the package; Conflict when the function belongs to somebody else.
func (s *Service) Deploy(ctx context.Context, tx *db.Tx, v hansom.Version) (changed bool, err error) {
	size, err := s.artifacts.Stat(ctx, v.Project, v.CodeSHA256)
	if err != nil {
		return false, err
	}
	set := settings{Description: v.Description, Runtime: v.Runtime, Handler: v.Handler, Role: v.Role, Memory: v.Memory, Ephemeral: v.Ephemeral,
		Timeout: v.Timeout, Environment: v.Environment, Concurrency: v.Concurrency, Ready: v.Ready, Egress: v.Egress, DeadLetter: v.DeadLetter}
	if set.Role == "" {
		set.Role = "arn:aws:iam::" + v.Project + ":role/" + v.Function
	}
	set.setDefaults()
	if err := s.validate(v.Function, set); err != nil {
		return false, err
	}
	r, ok, err := s.record(ctx, tx, v.Project, v.Function, 0)
	if err != nil {
		return false, err
	}
	arns, have := make([]string, len(v.Layers)), r.Layers
	for i, l := range v.Layers {
		if arns[i] = l.ARN; l.SHA256 != "" {
			have = append(have, l)
		}
	}
	if set.Layers, err = s.resolveLayers(ctx, tx, v.Project, arns, have); err != nil {
		return false, err
	}
	if err := s.checkUnpacked(ctx, v.Project, v.CodeSHA256, nil, set.Layers); err != nil {
		return false, err
	}
	if !ok {
		_, err := s.insert(ctx, tx, v.Project, v.Function, v.App, set, v.CodeSHA256, size)
		return true, err
	}
	if r.App != v.App {
		owner := "app " + r.App
		if r.App == "" {
			owner = "nobody: it was made through the Lambda API"
		}
		return false, hansom.Errorf(hansom.Conflict, "deploy function",
			"there is a function %s already, which belongs to %s; delete it, or rename the app or the function", v.Function, owner)
	}
	before := r.content()
	r.apply(set)
	r.CodeSHA256, r.CodeSize = v.CodeSHA256, size
	if r.content() == before {
		return false, nil
	}
	s.startUpdate(&r)
	return true, s.save(ctx, tx, &r)
}

// Undeploy deletes a function within the caller's transaction. One that is not there is no error.
func (s *Service) Undeploy(ctx context.Context, tx *db.Tx, project, name string) error {
	return s.remove(ctx, tx, project, name)
}

// Owned lists $LATEST of the functions of an app, by name, as q has them.
func (s *Service) Owned(ctx context.Context, q db.Querier, project, app string) ([]hansom.Version, error) {
	records, err := s.records(ctx, q, `WHERE v.project = ? AND f.app = ? AND v.number = 0 ORDER BY v.name`, project, app)
	versions := make([]hansom.Version, len(records))
	for i := range records {
		versions[i] = records[i].Version
	}
	return versions, err
}
