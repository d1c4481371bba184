package usage

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// Bounds of an API key, in characters.
const (
	minValue       = 20
	maxValue       = 128
	maxName        = 1024
	maxDescription = 1024
)

func check(k *api.Key) error {
	switch {
	case utf8.RuneCountInString(k.Name) > maxName:
		return invalid("Invalid API Key name specified.")
	case utf8.RuneCountInString(k.Description) > maxDescription:
		return invalid("Invalid API Key description specified.")
	}
	return api.CheckTags(k.Tags)
}

func checkValue(v string) error {
	switch {
	case len(v) < minValue:
		return invalid("API Key value should be at least %d characters", minValue)
	case len(v) > maxValue:
		return invalid("API Key value exceeds maximum size of %d characters", maxValue)
	case strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }):
		return invalid("API Key value must have visible ASCII characters only")
	}
	return nil
}

// CreateKey makes an API key; without a Value it gets a random one. Errors: BadRequestException, ConflictException for a value that is there,
// TooManyRequestsException.
func (s *Service) CreateKey(ctx context.Context, k api.Key) (*api.Key, error) {
	var out *api.Key
	err := s.db.Write(ctx, func(tx *db.Tx) (err error) {
		out, err = s.insertKey(ctx, tx, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// insertKey makes an API key.
func (s *Service) insertKey(ctx context.Context, tx *db.Tx, k api.Key) (*api.Key, error) {
	if k.Value == "" {
		k.Value = s.cfg.NewValue()
	}
	if err := checkValue(k.Value); err != nil {
		return nil, err
	}
	if err := check(&k); err != nil {
		return nil, err
	}
	n, err := count(ctx, tx, "usage_keys", k.Project)
	if err != nil {
		return nil, err
	}
	if n >= MaxKeys {
		return nil, full("API keys", "project")
	}
	digest := hex.EncodeToString(mac(s.digest, k.Value))
	same, err := s.readKeys(ctx, tx, `WHERE project = ? AND digest = ?`, k.Project, digest)
	if err != nil {
		return nil, err
	}
	if len(same) > 0 {
		return nil, conflict("API Key already exists")
	}
	k.ID, k.Created = s.cfg.NewID(sizeOfKey), s.now()
	k.Updated = k.Created
	return &k, exec(ctx, tx, ofKey+k.ID, `INSERT INTO usage_keys (id, project, digest, sealed, document) VALUES (?, ?, ?, ?, ?)`,
		k.ID, k.Project, digest, s.seal(k.ID, k.Value), db.Document(valueless(k)))
}

// Imported is an API key to import, with the IDs of the usage plans that it is to be in.
type Imported struct {
	api.Key
	Plans []string
}

// ImportKeys makes API keys. What is wrong with one of them makes a warning, and with strict undoes all. Errors: BadRequestException.
func (s *Service) ImportKeys(ctx context.Context, keys []Imported, strict bool) (ids, warnings []string, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		ids, warnings = []string{}, []string{}
		for n, in := range keys {
			warn := func(err error) error {
				if kind := hansom.KindOf(err); kind == hansom.Internal || kind == hansom.Unavailable || kind == hansom.Canceled || kind == hansom.Timeout {
					return err
				}
				warnings = append(warnings, fmt.Sprintf("Row %d: %v", n+1, err))
				return nil
			}
			k, err := s.insertKey(ctx, tx, in.Key)
			if err != nil {
				if err := warn(err); err != nil {
					return err
				}
				continue
			}
			ids = append(ids, k.ID)
			for _, plan := range in.Plans {
				if _, err := s.addKey(ctx, tx, in.Project, plan, k.ID); err != nil {
					if err := warn(err); err != nil {
						return err
					}
				}
			}
		}
		if strict && len(warnings) > 0 {
			return invalid("Warnings found during import: %s", strings.Join(warnings, "; "))
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return ids, warnings, nil
}

// valueless is a key without its value, which is stored apart.
func valueless(k api.Key) api.Key {
	k.Value = ""
	return k
}

// APIKey reads an API key, with its value when that is asked for. Error: NotFoundException.
func (s *Service) APIKey(ctx context.Context, project, id string, withValue bool) (*api.Key, error) {
	k, err := s.key(ctx, s.db.Read(), project, id)
	if err == nil && withValue {
		k.Value, err = s.unsealed(ctx, s.db.Read(), id)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// KeyFilter says which API keys are listed.
type KeyFilter struct {
	Name   string // that theirs begin with
	Plan   string // ID of the one that they are in; "" is all
	After  string // the ID before
	Limit  int
	Values bool
}

// APIKeys reads API keys of a project by their ID. Error: NotFoundException for the plan.
func (s *Service) APIKeys(ctx context.Context, project string, f KeyFilter) ([]*api.Key, error) {
	query, args := `SELECT document FROM usage_keys WHERE project = ? AND id > ?`, []any{project, f.After}
	if f.Plan != "" {
		if _, err := s.Plan(ctx, project, f.Plan); err != nil {
			return nil, err
		}
		query, args = query+` AND id IN (SELECT id FROM usage_plan_keys WHERE plan = ?)`, append(args, f.Plan)
	}
	query += ` ORDER BY id`
	if f.Name == "" {
		query, args = query+` LIMIT ?`, append(args, f.Limit)
	}
	all, err := db.Documents[api.Key](ctx, s.db.Read(), query, args...)
	if err != nil {
		return nil, err
	}
	var list []*api.Key
	for _, k := range all {
		if !strings.HasPrefix(k.Name, f.Name) {
			continue
		}
		if len(list) == f.Limit {
			break
		}
		if f.Values {
			if k.Value, err = s.unsealed(ctx, s.db.Read(), k.ID); err != nil {
				return nil, err
			}
		}
		list = append(list, k)
	}
	return list, nil
}

// UpdateKey changes an API key, but for its value. change may be run again. Errors: NotFoundException, BadRequestException.
func (s *Service) UpdateKey(ctx context.Context, project, id string, change func(*api.Key) error) (out *api.Key, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		k, err := s.key(ctx, tx, project, id)
		if err != nil {
			return err
		}
		if err := change(k); err != nil {
			return err
		}
		if err := check(k); err != nil {
			return err
		}
		k.Updated = s.now()
		out = k
		return exec(ctx, tx, ofKey+id, `UPDATE usage_keys SET document = ? WHERE id = ?`, db.Document(valueless(*k)), id)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteKey removes an API key, from its usage plans too. Error: NotFoundException.
func (s *Service) DeleteKey(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.key(ctx, tx, project, id); err != nil {
			return err
		}
		plans, err := plansOf(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, p := range plans {
			if err := exec(ctx, tx, ofPlan+p.ID, `DELETE FROM usage_plan_keys WHERE plan = ? AND id = ?`, p.ID, id); err != nil {
				return err
			}
		}
		return exec(ctx, tx, ofKey+id, `DELETE FROM usage_keys WHERE id = ?`, id)
	})
}
