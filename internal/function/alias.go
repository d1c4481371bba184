package function

import (
	"context"
	"encoding/json"
	"regexp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function/paging"
)

var (
	aliasPattern  = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,128}$`)
	digitsPattern = regexp.MustCompile(`^[0-9]+$`)
)

// CreateAlias names a version. Errors: NotFound for the function or a version, Conflict when the alias exists, Invalid for the routing.
func (s *Service) CreateAlias(ctx context.Context, project, name string, in AliasInput) (Alias, error) {
	if !aliasPattern.MatchString(in.Name) || digitsPattern.MatchString(in.Name) {
		return Alias{}, hansom.Errorf(hansom.Invalid, "create alias", "the alias %q is not 1 to 128 letters, digits, - or _, or has digits only", in.Name)
	}
	a := Alias{ARN: s.arn(project, name, in.Name), Name: in.Name, Version: in.Version, Description: in.Description, Weights: in.Weights, RevisionID: s.newID()}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.latest(ctx, tx, project, name); err != nil {
			return err
		}
		if _, ok, err := s.alias(ctx, tx, project, name, in.Name); err != nil {
			return err
		} else if ok {
			return hansom.Errorf(hansom.Conflict, "create alias", "Alias already exists: %s", a.ARN)
		}
		return s.saveAlias(ctx, tx, project, name, &a)
	})
	return a, err
}

// GetAlias reads an alias. Errors: NotFound.
func (s *Service) GetAlias(ctx context.Context, project, name, alias string) (Alias, error) {
	return s.knownAlias(ctx, s.db.Read(), project, name, alias)
}

// UpdateAlias changes an alias. Errors: NotFound, Precondition, Invalid for the routing.
func (s *Service) UpdateAlias(ctx context.Context, project, name, alias string, in UpdateAliasInput) (Alias, error) {
	var a Alias
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		var err error
		if a, err = s.knownAlias(ctx, tx, project, name, alias); err != nil {
			return err
		}
		if err := checkRevision(in.RevisionID, a.RevisionID); err != nil {
			return err
		}
		set(&a.Version, in.Version)
		set(&a.Description, in.Description)
		if in.Weights != nil {
			a.Weights = in.Weights
		}
		a.RevisionID = s.newID()
		return s.saveAlias(ctx, tx, project, name, &a)
	})
	return a, err
}

// DeleteAlias removes an alias with its URL, policy, event configuration and provisioned concurrency. One that is not there is no error. Errors: NotFound for the function.
func (s *Service) DeleteAlias(ctx context.Context, project, name, alias string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.latest(ctx, tx, project, name); err != nil {
			return err
		}
		if err := s.prepared.Remove(ctx, tx, project, name, alias); err != nil {
			return err
		}
		note(tx, project, name)
		return exec(ctx, tx, "delete alias", []any{project, name, alias},
			`DELETE FROM function_urls WHERE project = ? AND name = ? AND qualifier = ?`,
			`DELETE FROM function_policies WHERE project = ? AND name = ? AND qualifier = ?`,
			`DELETE FROM function_event_configs WHERE project = ? AND name = ? AND qualifier = ?`,
			`DELETE FROM function_aliases WHERE project = ? AND name = ? AND alias = ?`)
	})
}

// ListAliases lists the aliases of a function by name; with a version, those that point to it. Errors: NotFound, Invalid.
func (s *Service) ListAliases(ctx context.Context, project, name, version string, page Page) (list []Alias, next string, err error) {
	var after string
	limit, err := page.Open(&after)
	if err != nil {
		return nil, "", err
	}
	if _, err := s.latest(ctx, s.db.Read(), project, name); err != nil {
		return nil, "", err
	}
	where, args := `WHERE project = ? AND name = ? AND alias > ?`, []any{project, name, after}
	if version != "" {
		where, args = where+` AND version = ?`, append(args, version)
	}
	list, err = s.aliases(ctx, s.db.Read(), where+` ORDER BY alias LIMIT ?`, append(args, limit+1)...)
	if err == nil && len(list) > limit {
		list = list[:limit]
		next = paging.Marker(list[limit-1].Name)
	}
	return list, next, err
}

// knownAlias reads an alias, or fails with the message that AWS has for one that is not there.
func (s *Service) knownAlias(ctx context.Context, q db.Querier, project, name, alias string) (Alias, error) {
	a, ok, err := s.alias(ctx, q, project, name, alias)
	if err == nil && !ok {
		err = s.noAlias(project, name, alias)
	}
	return a, err
}

func (s *Service) noAlias(project, name, alias string) error {
	return hansom.Errorf(hansom.NotFound, "find alias", "Cannot find alias arn: %s", s.arn(project, name, alias))
}

// saveAlias checks the versions of an alias and writes it.
func (s *Service) saveAlias(ctx context.Context, tx *db.Tx, project, name string, a *Alias) error {
	if err := checkWeights(a); err != nil {
		return err
	}
	versions := []string{a.Version}
	for v := range a.Weights {
		versions = append(versions, v)
	}
	for _, v := range versions {
		number, ok := numberOf(v)
		if ok {
			var err error
			if _, ok, err = s.record(ctx, tx, project, name, number); err != nil {
				return err
			}
		}
		if !ok {
			return s.notFound(project, name, v)
		}
	}
	weights, err := json.Marshal(a.Weights)
	if err != nil {
		return failed("write alias", err)
	}
	note(tx, project, name)
	return exec(ctx, tx, "write alias", []any{project, name, a.Name, a.Version, a.Description, string(weights), a.RevisionID},
		`INSERT INTO function_aliases (project, name, alias, version, description, weights, revision_id) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name, alias) DO UPDATE SET version = excluded.version, description = excluded.description,
			weights = excluded.weights, revision_id = excluded.revision_id`)
}

func checkWeights(a *Alias) error {
	const op = "check routing"
	if len(a.Weights) > 1 {
		return hansom.Errorf(hansom.Invalid, op, "Number of items in AdditionalVersionWeights cannot be greater than 1")
	}
	for version, weight := range a.Weights {
		switch {
		case !(weight >= 0 && weight <= 1):
			return hansom.Errorf(hansom.Invalid, op, "the weight %v of version %s is not between 0.0 and 1.0", weight, version)
		case version == a.Version:
			return hansom.Errorf(hansom.Invalid, op, "Invalid function version %s. Function version %s is already included in routing configuration.", version, version)
		case a.Version == hansom.Latest || version == hansom.Latest:
			return hansom.Errorf(hansom.Invalid, op, "$LATEST is not supported for an alias pointing to more than 1 version")
		}
	}
	return nil
}

func (s *Service) alias(ctx context.Context, q db.Querier, project, name, alias string) (a Alias, ok bool, err error) {
	list, err := s.aliases(ctx, q, `WHERE project = ? AND name = ? AND alias = ?`, project, name, alias)
	if err != nil || len(list) == 0 {
		return Alias{}, false, err
	}
	return list[0], true, nil
}

func (s *Service) aliases(ctx context.Context, q db.Querier, rest string, args ...any) ([]Alias, error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, alias, version, description, weights, revision_id FROM function_aliases `+rest, args...)
	if err != nil {
		return nil, failed("read aliases", err)
	}
	defer rows.Close()
	var list []Alias
	for rows.Next() {
		var a Alias
		var project, name, weights string
		if err := rows.Scan(&project, &name, &a.Name, &a.Version, &a.Description, &weights, &a.RevisionID); err != nil {
			return nil, failed("read aliases", err)
		}
		if err := json.Unmarshal([]byte(weights), &a.Weights); err != nil {
			return nil, failed("read aliases", err)
		}
		a.ARN = s.arn(project, name, a.Name)
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read aliases", err)
	}
	return list, nil
}
