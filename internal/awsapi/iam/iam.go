// Package iam is the part of the AWS IAM API (2010-05-08) about roles that deploy tools need. Roles and their policies are kept
// as they are told and give no rights: access policies come later.
package iam

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/db"
)

const namespace = "https://iam.amazonaws.com/doc/2010-05-08/"

// service answers the actions.
type service struct {
	db  *db.DB
	now func() time.Time
}

// New migrates the store and returns the service.
func New(ctx context.Context, database *db.DB, logger *slog.Logger) (*awsapi.Query, error) {
	if err := migrate(ctx, database); err != nil {
		return nil, err
	}
	s := &service{database, time.Now}
	return awsapi.NewQuery("iam", namespace, logger, map[string]awsapi.Action{
		"CreateRole": s.createRole, "GetRole": s.getRole, "ListRoles": s.listRoles, "UpdateRole": s.updateRole, "DeleteRole": s.deleteRole,
		"UpdateAssumeRolePolicy": s.updateAssumeRolePolicy, "ListInstanceProfilesForRole": s.listInstanceProfiles,
		"TagRole": s.tagRole, "UntagRole": s.untagRole, "ListRoleTags": s.listRoleTags,
		"PutRolePolicy": s.putRolePolicy, "GetRolePolicy": s.getRolePolicy, "ListRolePolicies": s.listRolePolicies, "DeleteRolePolicy": s.deleteRolePolicy,
		"AttachRolePolicy": s.attachRolePolicy, "DetachRolePolicy": s.detachRolePolicy, "ListAttachedRolePolicies": s.listAttachedRolePolicies,
	}), nil
}

// Constraints of IAM's model.
const (
	maxRoleName   = 64
	maxPolicyName = 128
	maxPath       = 512
	maxDocument   = 131_072
	maxTags       = 50
	minSession    = 3600  // seconds
	maxSession    = 43200 // seconds
	defaultPage   = 100
	maxPage       = 1000
)

var (
	namePattern = regexp.MustCompile(`\A[\w+=,.@-]+\z`)
	pathPattern = regexp.MustCompile(`\A(/|/[!-~]+/)\z`)
	arnPattern  = regexp.MustCompile(`\Aarn:aws[a-zA-Z-]*:iam::(aws|\d{12}):policy/[!-~]+\z`)
)

// form reads parameters and collects what is wrong with them, in AWS's words.
type form struct {
	url.Values
	found []string
}

func (f *form) fail(name, value, constraint string) {
	f.found = append(f.found, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, strings.ToLower(name[:1])+name[1:], constraint))
}

// text reads a parameter of 1 to limit characters that matches pattern; required says whether it may be left out.
func (f *form) text(name string, limit int, pattern *regexp.Regexp, required bool) string {
	if !f.Has(name) {
		if required {
			f.fail(name, "null", "Member must not be null")
		}
		return ""
	}
	v := f.Get(name)
	switch {
	case v == "":
		f.fail(name, "''", "Member must have length greater than or equal to 1")
	case utf8.RuneCountInString(v) > limit:
		f.fail(name, "'"+v+"'", fmt.Sprintf("Member must have length less than or equal to %d", limit))
	case pattern != nil && !pattern.MatchString(v):
		f.fail(name, "'"+v+"'", "Member must satisfy regular expression pattern: "+strings.TrimSuffix(strings.TrimPrefix(pattern.String(), `\A`), `\z`))
	}
	return v
}

// number reads a parameter between low and high; fallback when it is not there.
func (f *form) number(name string, low, high, fallback int) int {
	if !f.Has(name) {
		return fallback
	}
	n, err := strconv.Atoi(f.Get(name))
	switch {
	case err != nil:
		f.fail(name, "'"+f.Get(name)+"'", "Member must be an integer")
	case n < low:
		f.fail(name, "'"+f.Get(name)+"'", fmt.Sprintf("Member must have value greater than or equal to %d", low))
	case n > high:
		f.fail(name, "'"+f.Get(name)+"'", fmt.Sprintf("Member must have value less than or equal to %d", high))
	}
	return n
}

func (f *form) roleName() string { return f.text("RoleName", maxRoleName, namePattern, true) }

// err returns what is wrong with the parameters read so far.
func (f *form) err() error {
	if len(f.found) == 0 {
		return nil
	}
	noun := "errors"
	if len(f.found) == 1 {
		noun = "error"
	}
	return hansom.Errorf(hansom.Invalid, "validate", "%d validation %s detected: %s", len(f.found), noun, strings.Join(f.found, "; "))
}

// document reads a policy document, which must be a JSON object.
func (f *form) document(name string) (string, error) {
	doc := f.text(name, maxDocument, nil, true)
	if err := f.err(); err != nil {
		return "", err
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(doc), &object) != nil {
		return "", hansom.Errorf(hansom.Invalid, "read policy", "This policy contains invalid Json").WithCode("MalformedPolicyDocument")
	}
	return doc, nil
}

// tags reads Tags.member.N.Key and Tags.member.N.Value.
func (f *form) tags() map[string]string {
	tags := map[string]string{}
	for i := 1; f.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		tags[f.text(fmt.Sprintf("Tags.member.%d.Key", i), 128, nil, true)] = f.Get(fmt.Sprintf("Tags.member.%d.Value", i))
	}
	return tags
}

// marker reads where a list goes on, and how long a page is.
func (f *form) page() (after string, limit int, err error) {
	limit = f.number("MaxItems", 1, maxPage, defaultPage)
	text, bad := base64.RawURLEncoding.DecodeString(f.Get("Marker"))
	if bad != nil {
		return "", 0, hansom.Errorf(hansom.Invalid, "list", "The marker is not valid; pass on the Marker of the page before.")
	}
	return string(text), limit, f.err()
}

// more cuts a list that was read one longer than a page, and returns the members that say so.
func more[T any](list []T, limit int, key func(T) string) ([]T, paging) {
	if len(list) <= limit {
		return list, paging{}
	}
	list = list[:limit]
	return list, paging{true, base64.RawURLEncoding.EncodeToString([]byte(key(list[limit-1])))}
}

type paging struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// newID returns an id as IAM makes them: AROA and 17 letters and digits.
func newID() string {
	var b [11]byte
	_, _ = rand.Read(b[:]) // never fails
	return "AROA" + base32.StdEncoding.EncodeToString(b[:])[:17]
}

// project is the tenant of a request.
func project(ctx context.Context) string { return awsapi.PrincipalFrom(ctx).Project }

// encoded is how documents travel in answers: percent-encoded (RFC 3986).
func encoded(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}

// change reads a role and lets f change it or what belongs to it, in one transaction.
func (s *service) change(ctx context.Context, name string, f func(tx *db.Tx, r *role) error) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		r, err := findRole(ctx, tx, project(ctx), name)
		if err != nil {
			return err
		}
		return f(tx, &r)
	})
}
