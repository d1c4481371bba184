package auth

import (
	"cmp"
	"context"
	"embed"
	"encoding/base64"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

const domain = "auth"

//go:embed migrations/*.sql
var migrations embed.FS

// reloads makes re-reading one at a time.
type reloads struct {
	sync.Mutex
	stale atomic.Bool // the picture in memory is older than the store and could not be renewed
}

func (s *Service) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return hansom.Errorf(hansom.Internal, "open auth", "%w", err)
	}
	if err := s.db.Migrate(ctx, domain, files); err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO auth_project (id, slug, created) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`,
			hansom.DefaultProject, defaultSlug, s.cfg.Now().UnixMicro())
		return err
	})
}

// changed follows the notices of the store.
func (s *Service) changed(c db.Change) {
	if c.Domain != domain {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.reload(ctx); err != nil {
		s.logger.Error("projects and keys could not be read again; requests are refused until they can", "error", err)
	}
}

// fresh renews the picture in memory if an earlier attempt failed: a deleted key must not go on working.
func (s *Service) fresh(ctx context.Context) error {
	if !s.reloads.stale.Load() {
		return nil
	}
	if err := s.reload(ctx); err != nil {
		return hansom.Errorf(hansom.Unavailable, "authenticate", "Access keys cannot be read from the database; try again: %w", err)
	}
	return nil
}

// reload reads all projects and keys. A key whose secret was unsealed before is not unsealed again and keeps its derived keys.
func (s *Service) reload(ctx context.Context) error {
	s.reloads.Lock()
	defer s.reloads.Unlock()
	s.reloads.stale.Store(true)
	st := &state{projects: map[string]Project{}, slugs: map[string]string{}, keys: map[string]*credential{}, listed: map[string][]AccessKey{}}
	rows, err := s.db.Read().QueryContext(ctx, `SELECT id, slug, created, egress FROM auth_project`)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "read projects", "%w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Project
		var created int64
		if err := rows.Scan(&p.ID, &p.Slug, &created, &p.Egress); err != nil {
			return hansom.Errorf(hansom.Internal, "read projects", "%w", err)
		}
		p.Created = time.UnixMicro(created).UTC()
		st.projects[p.ID], st.slugs[p.Slug] = p, p.ID
	}
	if err := errors.Join(rows.Err(), s.readKeys(ctx, st)); err != nil {
		return err
	}
	s.addFixed(st)
	s.state.Store(st)
	s.reloads.stale.Store(false)
	return nil
}

func (s *Service) readKeys(ctx context.Context, st *state) error {
	old := s.state.Load()
	rows, err := s.db.Read().QueryContext(ctx, `SELECT id, project, name, secret, created FROM auth_key`)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "read access keys", "%w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var k AccessKey
		var sealed string
		var created int64
		if err := rows.Scan(&k.ID, &k.Project, &k.Name, &sealed, &created); err != nil {
			return hansom.Errorf(hansom.Internal, "read access keys", "%w", err)
		}
		k.Created = time.UnixMicro(created).UTC()
		st.listed[k.Project] = append(st.listed[k.Project], k)
		if old != nil && old.keys[k.ID] != nil {
			st.keys[k.ID] = old.keys[k.ID]
			continue
		}
		secret, err := s.unseal(k.ID, sealed)
		if err != nil {
			return hansom.Errorf(hansom.Invalid, "read access keys",
				"access key %s of project %s was stored with another master key; start with the key file, or HANSOM_MASTER_KEY, that belongs to this database", k.ID, k.Project)
		}
		st.keys[k.ID] = &credential{principal: userPrincipal(k), secret: secret}
	}
	for _, keys := range st.listed {
		slices.SortFunc(keys, func(a, b AccessKey) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		})
	}
	return rows.Err()
}

// addFixed adds the keys that do not come from the store.
func (s *Service) addFixed(st *state) {
	root := hansom.Principal{Kind: hansom.Root, Project: hansom.DefaultProject,
		ARN: "arn:aws:iam::" + hansom.DefaultProject + ":root", UserID: hansom.DefaultProject}
	add := func(id, secret string) {
		root.AccessKeyID = id
		if old := s.state.Load(); old != nil && old.keys[id] != nil {
			st.keys[id] = old.keys[id]
		} else {
			st.keys[id] = &credential{principal: root, secret: secret}
		}
	}
	if s.cfg.Root.AccessKeyID != "" {
		add(s.cfg.Root.AccessKeyID, s.cfg.Root.SecretAccessKey)
	}
	if s.cfg.Dev {
		add("test", "test")
	}
}

func userPrincipal(k AccessKey) hansom.Principal {
	return hansom.Principal{Kind: hansom.AccessKey, Project: k.Project, AccessKeyID: k.ID,
		ARN: "arn:aws:iam::" + k.Project + ":user/" + k.Name, UserID: uniqueID("AIDA", k.Project+"/user/"+k.Name)}
}

func (s *Service) seal(id, secret string) string {
	return base64.StdEncoding.EncodeToString(s.stored.Seal(nil, nil, []byte(secret), []byte(id)))
}

func (s *Service) unseal(id, sealed string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", err
	}
	plain, err := s.stored.Open(nil, nil, b, []byte(id))
	return string(plain), err
}
