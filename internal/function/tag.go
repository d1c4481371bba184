package function

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function/tagging"
)

// EgressTag is the tag that sets a function's Egress: hansom.EgressNone and so on. That of an app's function is in its manifest.
const EgressTag = "hansom:egress"

// Tag adds tags to a function, or gives those it has another value. Errors: NotFound; Invalid for more than 50 tags, keys of other
// than 1 to 128 characters or that begin with "aws:", values of more than 256, and what EgressTag cannot be; Conflict for that tag
// while the function is being updated.
func (s *Service) Tag(ctx context.Context, project, name string, tags map[string]string) error {
	if err := tagging.Check(tags); err != nil {
		return err
	}
	return s.changeTags(ctx, project, name, func(have map[string]string) { maps.Copy(have, tags) })
}

// Untag takes tags from a function. Those it does not have are no error. Errors: NotFound.
func (s *Service) Untag(ctx context.Context, project, name string, keys []string) error {
	return s.changeTags(ctx, project, name, func(have map[string]string) {
		for _, key := range keys {
			delete(have, key)
		}
	})
}

// Tags of a function; empty when it has none. Errors: NotFound.
func (s *Service) Tags(ctx context.Context, project, name string) (map[string]string, error) {
	return s.tags(ctx, s.db.Read(), project, name)
}

func (s *Service) tags(ctx context.Context, q db.Querier, project, name string) (map[string]string, error) {
	var text string
	err := q.QueryRowContext(ctx, `SELECT tags FROM functions WHERE project = ? AND name = ?`, project, name).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, s.notFound(project, name, "")
	}
	tags := map[string]string{}
	if err == nil {
		err = json.Unmarshal([]byte(text), &tags)
	}
	if err != nil {
		return nil, failed("read tags", err)
	}
	return tags, nil
}

func (s *Service) changeTags(ctx context.Context, project, name string, change func(map[string]string)) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		tags, err := s.tags(ctx, tx, project, name)
		if err != nil {
			return err
		}
		before := tags[EgressTag]
		change(tags)
		if err := tagging.CheckCount(tags); err != nil {
			return err
		}
		if tags[EgressTag] != before {
			if err := s.changeEgress(ctx, tx, project, name, tags[EgressTag]); err != nil {
				return err
			}
		}
		return s.saveTags(ctx, tx, project, name, tags)
	})
}

// changeEgress gives $LATEST another revision.
func (s *Service) changeEgress(ctx context.Context, tx *db.Tx, project, name, egress string) error {
	r, err := s.latest(ctx, tx, project, name)
	if err == nil {
		err = s.settled(&r)
	}
	if err == nil {
		err = hansom.CheckEgress(egress)
	}
	if err == nil && r.App != "" {
		err = hansom.Errorf(hansom.Invalid, "tag function", "%s belongs to the app %s: set egress in its manifest, not the tag %s", name, r.App, EgressTag)
	}
	if err != nil {
		return err
	}
	r.Egress = egress
	s.startUpdate(&r)
	return s.save(ctx, tx, &r)
}

func (s *Service) saveTags(ctx context.Context, tx *db.Tx, project, name string, tags map[string]string) error {
	if tags == nil {
		return nil
	}
	text, err := json.Marshal(tags)
	if err != nil {
		return failed("write tags", err)
	}
	return exec(ctx, tx, "write tags", []any{string(text), project, name}, `UPDATE functions SET tags = ? WHERE project = ? AND name = ?`)
}
