package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

const defaultSlug = "default"

// Project is the unit of tenancy.
type Project struct {
	ID      string    `json:"id"`   // 12 digits
	Slug    string    `json:"slug"` // a DNS label, unique
	Created time.Time `json:"created"`
	Egress  string    `json:"egress"` // of functions that do not say, hansom.EgressNone and so on; "" is the server's default
}

// AccessKey is a long-lived key of a project without its secret. Two keys of one name belong to the same user, as while one
// replaces the other.
type AccessKey struct {
	ID      string    `json:"id"` // AKIA and 16 characters
	Project string    `json:"project"`
	Name    string    `json:"name"` // user name in the ARN
	Created time.Time `json:"created"`
}

var (
	slugForm = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,64}$`) // IAM user names
)

// CreateProject makes a project with a random id. Errors: Invalid for a bad slug, Conflict when it is taken.
func (s *Service) CreateProject(ctx context.Context, slug string) (Project, error) {
	const op = "create project"
	if !slugForm.MatchString(slug) {
		return Project{}, hansom.Errorf(hansom.Invalid, op, "%.80q is not a project name: it has 1 to 63 lower-case letters, digits and hyphens and begins with a letter", slug)
	}
	if slug == "lambda-url" || slug == "execute-api" {
		return Project{}, hansom.Errorf(hansom.Invalid, op, "%q stands in the hosts of functions and APIs; choose another name", slug)
	}
	p := Project{Slug: slug}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
		if err != nil {
			return err
		}
		p.ID = fmt.Sprint(n.Int64() + 100_000_000_000)
		p.Created = s.now()
		tx.Changed(domain, p.ID)
		_, err = tx.ExecContext(ctx, `INSERT INTO auth_project (id, slug, created) VALUES (?, ?, ?)`, p.ID, p.Slug, p.Created.UnixMicro())
		return err
	})
	if db.IsDuplicate(err) {
		return Project{}, hansom.Errorf(hansom.Conflict, op, "there is a project %q already; choose another name", slug)
	}
	return p, wrap(op, err)
}

// Projects lists all projects, the oldest first.
func (s *Service) Projects() []Project {
	st := s.state.Load()
	list := make([]Project, 0, len(st.projects))
	for _, p := range st.projects {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Project) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return list
}

// Project finds a project by its id or slug. Error: NotFound.
func (s *Service) Project(name string) (Project, error) {
	st := s.state.Load()
	id := name
	if found, ok := st.slugs[name]; ok {
		id = found
	}
	p, ok := st.projects[id]
	if !ok {
		return Project{}, hansom.Errorf(hansom.NotFound, "find project", "there is no project %.80q; see the list of projects", name)
	}
	return p, nil
}

// SetEgress sets what functions of a project reach that do not say; "" leaves it to the server again. Errors: NotFound for the
// project, Invalid for what hansom.CheckEgress refuses.
func (s *Service) SetEgress(ctx context.Context, project, egress string) (Project, error) {
	const op = "set egress"
	p, err := s.Project(project)
	if err != nil {
		return Project{}, err
	}
	if err := hansom.CheckEgress(egress); err != nil {
		return Project{}, err
	}
	p.Egress = egress
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		tx.Changed(domain, p.ID)
		res, err := tx.ExecContext(ctx, `UPDATE auth_project SET egress = ? WHERE id = ?`, p.Egress, p.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return hansom.Errorf(hansom.NotFound, op, "project %s was deleted", p.ID)
		}
		return nil
	})
	if err != nil {
		return Project{}, wrap(op, err)
	}
	return p, nil
}

// DeleteProject removes a project, its access keys and its sessions. check is called in the same transaction and says whether
// other domains still hold something of the project; it may be nil. Errors: NotFound, Conflict for the default project, check's.
func (s *Service) DeleteProject(ctx context.Context, id string, check func(ctx context.Context, tx *db.Tx) error) error {
	const op = "delete project"
	p, err := s.Project(id)
	if err != nil {
		return err
	}
	if p.ID == hansom.DefaultProject {
		return hansom.Errorf(hansom.Conflict, op, "the default project cannot be deleted")
	}
	return wrap(op, s.db.Write(ctx, func(tx *db.Tx) error {
		if check != nil {
			if err := check(ctx, tx); err != nil {
				return err
			}
		}
		tx.Changed(domain, p.ID)
		if _, err := tx.ExecContext(ctx, `DELETE FROM auth_key WHERE project = ?`, p.ID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM auth_project WHERE id = ?`, p.ID)
		return err
	}))
}

// CreateKey makes an access key for a user name of a project. The secret is returned this once and cannot be read again.
// Errors: NotFound for the project, Invalid for the name.
func (s *Service) CreateKey(ctx context.Context, project, name string) (AccessKey, hansom.Credentials, error) {
	const op = "create access key"
	p, err := s.Project(project)
	if err != nil {
		return AccessKey{}, hansom.Credentials{}, err
	}
	if !nameForm.MatchString(name) {
		return AccessKey{}, hansom.Credentials{}, hansom.Errorf(hansom.Invalid, op, "%.80q is not a name for a key: it has 1 to 64 letters, digits and _+=,.@-", name)
	}
	secret := newSecret()
	k := AccessKey{ID: "AKIA" + randomID(), Project: p.ID, Name: name, Created: s.now()}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		tx.Changed(domain, k.ID)
		// The project may have been deleted since: the key is inserted only with it.
		res, err := tx.ExecContext(ctx, `INSERT INTO auth_key (id, project, name, secret, created) SELECT ?, id, ?, ?, ? FROM auth_project WHERE id = ?`,
			k.ID, k.Name, s.seal(k.ID, secret), k.Created.UnixMicro(), k.Project)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return hansom.Errorf(hansom.NotFound, op, "project %s was deleted", k.Project)
		}
		return nil
	})
	if err != nil {
		return AccessKey{}, hansom.Credentials{}, wrap(op, err)
	}
	return k, hansom.Credentials{AccessKeyID: k.ID, SecretAccessKey: secret}, nil
}

// Keys lists the access keys of a project, the oldest first. Error: NotFound for the project.
func (s *Service) Keys(project string) ([]AccessKey, error) {
	p, err := s.Project(project)
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.state.Load().listed[p.ID]), nil
}

// DeleteKey removes an access key of a project at once, and its sessions with it. Error: NotFound.
func (s *Service) DeleteKey(ctx context.Context, project, id string) error {
	const op = "delete access key"
	p, err := s.Project(project)
	if err != nil {
		return err
	}
	return wrap(op, s.db.Write(ctx, func(tx *db.Tx) error {
		tx.Changed(domain, id)
		res, err := tx.ExecContext(ctx, `DELETE FROM auth_key WHERE id = ? AND project = ?`, id, p.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return hansom.Errorf(hansom.NotFound, op, "project %s has no access key %.40q; see the list of its keys", p.Slug, id)
		}
		return nil
	}))
}

// now is the time with the precision of the store.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// newSecret is 40 characters, as AWS's secrets have.
func newSecret() string {
	var b [30]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return strings.NewReplacer("-", "+", "_", "/").Replace(base64.RawURLEncoding.EncodeToString(b[:]))
}

// wrap gives a bare error of the database its kind.
func wrap(op string, err error) error {
	if err == nil || hansom.KindOf(err) != hansom.Internal {
		return err
	}
	return hansom.Errorf(hansom.Internal, op, "%w", err)
}
