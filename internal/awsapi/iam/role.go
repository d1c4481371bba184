package iam

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// roleXML is the structure Role of IAM's model.
type roleXML struct {
	Path                     string
	RoleName                 string
	RoleId                   string
	Arn                      string
	CreateDate               string
	AssumeRolePolicyDocument string
	Description              string `xml:",omitempty"`
	MaxSessionDuration       int
	Tags                     *tagList `xml:",omitempty"`
}

type (
	tagXML  struct{ Key, Value string }
	tagList struct {
		Member []tagXML `xml:"member"`
	}
)

type roleResult struct{ Role roleXML }

func xmlOf(r *role) roleXML {
	x := roleXML{Path: r.path, RoleName: r.name, RoleId: r.id, Arn: r.arn(), CreateDate: r.created.Format(time.RFC3339),
		AssumeRolePolicyDocument: encoded(r.trust), Description: r.description, MaxSessionDuration: r.maxSession}
	if len(r.tags) > 0 {
		x.Tags = &tagList{tagsXML(r.tags)}
	}
	return x
}

func tagsXML(tags map[string]string) []tagXML {
	var out []tagXML
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, tagXML{k, tags[k]})
	}
	return out
}

func (s *service) createRole(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	r := role{project: project(ctx), id: newID(), created: s.now().UTC().Truncate(time.Second), name: f.roleName(), path: "/",
		description: f.Get("Description"), maxSession: f.number("MaxSessionDuration", minSession, maxSession, minSession), tags: f.tags()}
	if f.Has("Path") {
		r.path = f.text("Path", maxPath, pathPattern, false)
	}
	if f.Get("Description") != "" {
		f.text("Description", 1000, nil, false)
	}
	if f.Has("PermissionsBoundary") {
		return nil, hansom.Errorf(hansom.Unsupported, "create role", "PermissionsBoundary is not supported by this server. Leave it out of the request.")
	}
	var err error
	if r.trust, err = f.document("AssumeRolePolicyDocument"); err != nil {
		return nil, err
	}
	if err := checkTags(r.tags); err != nil {
		return nil, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := findRole(ctx, tx, r.project, r.name); err == nil {
			return hansom.Errorf(hansom.Conflict, "create role", "Role with name %s already exists.", r.name)
		} else if hansom.KindOf(err) != hansom.NotFound {
			return err
		}
		return saveRole(ctx, tx, &r)
	})
	return roleResult{xmlOf(&r)}, err
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return hansom.Errorf(hansom.Conflict, "tag role", "A role can have %d tags at most.", maxTags).WithCode("LimitExceeded")
	}
	for k, v := range tags {
		if len(v) > 256 {
			return hansom.Errorf(hansom.Invalid, "tag role", "The value of the tag %s has more than 256 characters.", k)
		}
	}
	return nil
}

func (s *service) getRole(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name := f.roleName()
	if err := f.err(); err != nil {
		return nil, err
	}
	r, err := findRole(ctx, s.db.Read(), project(ctx), name)
	return roleResult{xmlOf(&r)}, err
}

// listInstanceProfiles has none to list; Terraform asks before it deletes a role.
func (s *service) listInstanceProfiles(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name := f.roleName()
	if err := f.err(); err != nil {
		return nil, err
	}
	_, err := findRole(ctx, s.db.Read(), project(ctx), name)
	return struct {
		InstanceProfiles struct{}
		paging
	}{}, err
}

func (s *service) listRoles(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	after, limit, err := f.page()
	if err != nil {
		return nil, err
	}
	list, err := listRoles(ctx, s.db.Read(), project(ctx), f.Get("PathPrefix"), after, limit+1)
	if err != nil {
		return nil, err
	}
	list, p := more(list, limit, func(r role) string { return r.name })
	out := struct {
		Roles []roleXML `xml:"Roles>member"`
		paging
	}{paging: p}
	for i := range list {
		x := xmlOf(&list[i])
		x.Tags = nil // as IAM's list answers
		out.Roles = append(out.Roles, x)
	}
	return out, nil
}

func (s *service) updateRole(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name, session := f.roleName(), f.number("MaxSessionDuration", minSession, maxSession, 0)
	if f.Get("Description") != "" {
		f.text("Description", 1000, nil, false)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return struct{}{}, s.change(ctx, name, func(tx *db.Tx, r *role) error {
		if f.Has("Description") {
			r.description = f.Get("Description")
		}
		if session != 0 {
			r.maxSession = session
		}
		return saveRole(ctx, tx, r)
	})
}

func (s *service) updateAssumeRolePolicy(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name := f.roleName()
	trust, err := f.document("PolicyDocument")
	if err != nil {
		return nil, err
	}
	return nil, s.change(ctx, name, func(tx *db.Tx, r *role) error {
		r.trust = trust
		return saveRole(ctx, tx, r)
	})
}

func (s *service) deleteRole(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name := f.roleName()
	if err := f.err(); err != nil {
		return nil, err
	}
	return nil, s.change(ctx, name, func(tx *db.Tx, r *role) error {
		for _, holds := range []struct{ table, message string }{
			{"iam_role_attachments", "Cannot delete entity, must detach all policies first."},
			{"iam_role_policies", "Cannot delete entity, must delete policies first."},
		} {
			var n int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM `+holds.table+` WHERE project = ? AND role = ?`, r.project, r.name).Scan(&n); err != nil {
				return hansom.Errorf(hansom.Internal, "delete role", "%w", err)
			}
			if n > 0 {
				return hansom.Errorf(hansom.Conflict, "delete role", "%s", holds.message).WithCode("DeleteConflict")
			}
		}
		return exec(ctx, tx, r.project, r.name, `DELETE FROM iam_roles WHERE project = ? AND name = ?`, r.project, r.name)
	})
}

func (s *service) tagRole(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name, tags := f.roleName(), f.tags()
	if err := f.err(); err != nil {
		return nil, err
	}
	return nil, s.change(ctx, name, func(tx *db.Tx, r *role) error {
		maps.Copy(r.tags, tags)
		if err := checkTags(r.tags); err != nil {
			return err
		}
		return saveRole(ctx, tx, r)
	})
}

func (s *service) untagRole(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name := f.roleName()
	if err := f.err(); err != nil {
		return nil, err
	}
	return nil, s.change(ctx, name, func(tx *db.Tx, r *role) error {
		for i := 1; f.Has(fmt.Sprintf("TagKeys.member.%d", i)); i++ {
			delete(r.tags, f.Get(fmt.Sprintf("TagKeys.member.%d", i)))
		}
		return saveRole(ctx, tx, r)
	})
}

func (s *service) listRoleTags(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name := f.roleName()
	if err := f.err(); err != nil {
		return nil, err
	}
	r, err := findRole(ctx, s.db.Read(), project(ctx), name)
	return struct {
		Tags []tagXML `xml:"Tags>member"`
		paging
	}{Tags: tagsXML(r.tags)}, err
}
