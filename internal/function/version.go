package function

import (
	"context"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function/events"
	"github.com/hansomcloud/hansom/internal/function/paging"
)

// Get reads a function, or the version that a qualifier names. Errors: NotFound.
func (s *Service) Get(ctx context.Context, project, name, qualifier string) (Function, error) {
	version := qualifier
	if version == "" {
		version = hansom.Latest
	} else if isAlias(qualifier) {
		a, ok, err := s.alias(ctx, s.db.Read(), project, name, qualifier)
		if err != nil {
			return Function{}, err
		}
		if !ok {
			return Function{}, s.notFound(project, name, qualifier)
		}
		version = a.Version
	}
	number, ok := numberOf(version)
	if !ok {
		return Function{}, s.notFound(project, name, qualifier)
	}
	r, ok, err := s.record(ctx, s.db.Read(), project, name, number)
	if err != nil {
		return Function{}, err
	}
	if !ok {
		return Function{}, s.notFound(project, name, qualifier)
	}
	r.FunctionARN = s.arn(project, name, qualifier)
	return r.Function, nil
}

// List lists the functions of a project by name, $LATEST of each; with allVersions the published versions too. State fields are
// filled, though AWS leaves them out of lists. Errors: Invalid for a marker that is not from here.
func (s *Service) List(ctx context.Context, project string, allVersions bool, page Page) (list []Function, next string, err error) {
	after := versionMarker{}
	limit, err := page.Open(&after)
	if err != nil {
		return nil, "", err
	}
	where := `WHERE v.project = ? AND v.number = 0 AND v.name > ? ORDER BY v.name LIMIT ?`
	args := []any{project, after.Name, limit + 1}
	if allVersions {
		where = `WHERE v.project = ? AND (v.name > ? OR v.name = ? AND v.number > ?) ORDER BY v.name, v.number LIMIT ?`
		if page.Marker == "" {
			after.Number = -1
		}
		args = []any{project, after.Name, after.Name, after.Number, limit + 1}
	}
	records, err := s.records(ctx, s.db.Read(), where, args...)
	if err != nil {
		return nil, "", err
	}
	return s.page(records, limit, allVersions)
}

// ListVersions lists $LATEST and the published versions of a function, oldest first. Errors: NotFound, Invalid.
func (s *Service) ListVersions(ctx context.Context, project, name string, page Page) (list []Function, next string, err error) {
	after := versionMarker{Number: -1}
	limit, err := page.Open(&after)
	if err != nil {
		return nil, "", err
	}
	if _, err := s.latest(ctx, s.db.Read(), project, name); err != nil {
		return nil, "", err
	}
	records, err := s.records(ctx, s.db.Read(), `WHERE v.project = ? AND v.name = ? AND v.number > ? ORDER BY v.number LIMIT ?`,
		project, name, after.Number, limit+1)
	if err != nil {
		return nil, "", err
	}
	return s.page(records, limit, true)
}

type versionMarker struct {
	Name   string `json:"n"`
	Number int64  `json:"v"`
}

// page cuts a list to its limit; one record more says that there is a next page.
func (s *Service) page(records []record, limit int, qualified bool) (list []Function, next string, err error) {
	if len(records) > limit {
		records = records[:limit]
		last := &records[limit-1]
		next = paging.Marker(versionMarker{last.Version.Function, last.number})
	}
	list = make([]Function, len(records))
	for i := range records {
		list[i] = records[i].Function
		if qualified {
			list[i].FunctionARN = s.arn(list[i].Project, list[i].Version.Function, list[i].Number)
		}
	}
	return list, next, nil
}

// Publish makes a version of $LATEST, or returns the last one when nothing has changed since.
// Errors: NotFound, Invalid for another CodeSha256, Precondition, Conflict while an update is under way.
func (s *Service) Publish(ctx context.Context, project, name string, in PublishInput) (Function, error) {
	var answer record
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		r, err := s.latest(ctx, tx, project, name)
		if err != nil {
			return err
		}
		if err := s.mayUpdate(&r, in.RevisionID); err != nil {
			return err
		}
		if have := r.CodeSha256(); in.CodeSha256 != "" && in.CodeSha256 != have {
			return hansom.Errorf(hansom.Invalid, "publish version", "CodeSHA256 (%s) is different from current CodeSHA256 in $LATEST (%s). "+
				"Please try again with the CodeSHA256 in $LATEST.", in.CodeSha256, have)
		}
		answer, err = s.publish(ctx, tx, &r, in.Description)
		answer.FunctionARN = s.arn(project, name, answer.Number)
		return err
	})
	return answer.Function, err
}

// publish makes a version of $LATEST as r has it. A new version gives $LATEST a new RevisionID too, as AWS does.
func (s *Service) publish(ctx context.Context, tx *db.Tx, r *record, description *string) (record, error) {
	name := r.Version.Function
	last, err := lastNumber(ctx, tx, r.Project, name)
	if err != nil {
		return record{}, err
	}
	origin := r.content()
	if last > 0 {
		if v, ok, err := s.record(ctx, tx, r.Project, name, last); err != nil || ok && v.origin == origin {
			return v, err
		}
	}
	version := *r
	version.number, version.Number, version.origin = last+1, versionName(last+1), origin
	version.Revision, version.RevisionID, version.LastModified = s.newID(), s.newID(), s.timestamp()
	if description != nil {
		version.Description = *description
	}
	if err := exec(ctx, tx, "publish version", []any{r.Project, name, version.number},
		`INSERT INTO function_numbers (project, name, last) VALUES (?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET last = excluded.last`); err != nil {
		return record{}, err
	}
	if err := s.save(ctx, tx, &version); err != nil {
		return record{}, err
	}
	r.RevisionID = s.newID()
	return version, s.save(ctx, tx, r)
}

// Delete removes a function with all that belongs to it, or one version when qualifier is a number. A version that is not there
// is no error, as with AWS. Errors: NotFound for the function; Invalid for $LATEST or an alias; Conflict for a version that an alias names.
func (s *Service) Delete(ctx context.Context, project, name, qualifier string) error {
	switch {
	case qualifier == hansom.Latest:
		return hansom.Errorf(hansom.Invalid, "delete function", "$LATEST version cannot be deleted without deleting the function.")
	case qualifier != "" && isAlias(qualifier):
		return hansom.Errorf(hansom.Invalid, "delete function", "Deletion of aliases is not currently supported.")
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.latest(ctx, tx, project, name); err != nil {
			return err
		}
		if qualifier == "" {
			return s.remove(ctx, tx, project, name)
		}
		return s.removeVersion(ctx, tx, project, name, qualifier)
	})
}

// remove deletes all that is known of a function but its last version number.
func (s *Service) remove(ctx context.Context, tx *db.Tx, project, name string) error {
	if err := s.prepared.Remove(ctx, tx, project, name, ""); err != nil {
		return err
	}
	note(tx, project, name)
	return exec(ctx, tx, "delete function", []any{project, name},
		`DELETE FROM function_urls WHERE project = ? AND name = ?`,
		`DELETE FROM function_event_configs WHERE project = ? AND name = ?`,
		`DELETE FROM function_policies WHERE project = ? AND name = ?`,
		`DELETE FROM function_aliases WHERE project = ? AND name = ?`,
		`DELETE FROM function_versions WHERE project = ? AND name = ?`,
		`DELETE FROM functions WHERE project = ? AND name = ?`)
}

func (s *Service) removeVersion(ctx context.Context, tx *db.Tx, project, name, version string) error {
	number, ok := numberOf(version)
	if !ok {
		return nil // there is no such version
	}
	aliases, err := s.aliases(ctx, tx, `WHERE project = ? AND name = ? ORDER BY alias`, project, name)
	if err != nil {
		return err
	}
	var users []string
	for _, a := range aliases {
		if _, weighted := a.Weights[version]; weighted || a.Version == version {
			users = append(users, a.Name)
		}
	}
	if len(users) > 0 {
		return hansom.Errorf(hansom.Conflict, "delete version",
			"Unable to delete version because the following aliases reference it: [%s]", strings.Join(users, ", "))
	}
	if err := s.prepared.Remove(ctx, tx, project, name, version); err != nil {
		return err
	}
	note(tx, project, name)
	if err := events.Forget(ctx, tx, project, name, version); err != nil {
		return err
	}
	if err := exec(ctx, tx, "delete version", []any{project, name, version},
		`DELETE FROM function_policies WHERE project = ? AND name = ? AND qualifier = ?`); err != nil {
		return err
	}
	return exec(ctx, tx, "delete version", []any{project, name, number},
		`DELETE FROM function_versions WHERE project = ? AND name = ? AND number = ?`)
}

// isAlias says whether a qualifier can only be an alias: it is neither $LATEST nor a number.
func isAlias(qualifier string) bool {
	return qualifier != hansom.Latest && slices.ContainsFunc([]byte(qualifier), func(c byte) bool { return c < '0' || c > '9' })
}
