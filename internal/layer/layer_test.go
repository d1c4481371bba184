package layer

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/blob/disk"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	project = "111111111111"
	other   = "222222222222"
)

func open(t testing.TB, dir string, d *db.DB) *Service {
	t.Helper()
	blobs, err := disk.New(filepath.Join(dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	artifacts, err := artifact.New(artifact.DefaultConfig(dir), blobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(context.Background(), DefaultConfig(), d, artifacts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pack makes a zip with one file.
func pack(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("python/lib.py")
	if err == nil {
		_, err = f.Write([]byte(content))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func publish(t testing.TB, s *Service, project, name string, runtimes ...string) Version {
	t.Helper()
	v, err := s.Publish(context.Background(), project, PublishInput{Name: name, Zip: pack(t, name), Runtimes: runtimes,
		Architectures: []string{"x86_64"}, Description: "d", License: "MIT"})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantError(t testing.TB, what string, err error, kind hansom.Kind, message string) {
	t.Helper()
	if err == nil || hansom.KindOf(err) != kind || !strings.Contains(err.Error(), message) {
		t.Errorf("%s: got %v (kind %d), want kind %d with %q", what, err, hansom.KindOf(err), kind, message)
	}
}

func numbers(list []Version) string {
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v.Name, ":", v.Number))
	}
	return strings.Join(out, " ")
}

func TestVersions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := open(t, t.TempDir(), d)
		v := publish(t, s, project, "a", "python3.12")
		got, err := s.Get(ctx, project, project, "a", 1)
		if diff := cmp.Diff(v, got, cmp.AllowUnexported(Version{}), cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		if v.ARN() != "arn:aws:lambda:us-east-1:111111111111:layer:a:1" || v.LayerARN() != "arn:aws:lambda:us-east-1:111111111111:layer:a" {
			t.Errorf("%s of %s", v.ARN(), v.LayerARN())
		}
		publish(t, s, project, "a", "nodejs22.x", "python3.12")
		publish(t, s, project, "a", "nodejs22.x")
		publish(t, s, project, "b")
		publish(t, s, other, "a")
		for _, c := range []struct {
			name   string
			filter Filter
			want   string
		}{
			{"a", Filter{}, "a:3 a:2 a:1"}, {"a", Filter{"python3.12", ""}, "a:2 a:1"}, {"a", Filter{"nodejs22.x", "x86_64"}, "a:3 a:2"},
			{"a", Filter{"", "arm64"}, ""}, {"b", Filter{}, "b:1"}, {"b", Filter{"python3.12", ""}, ""}, {"none", Filter{}, ""},
			{"", Filter{}, "a:3 b:1"}, {"", Filter{"python3.12", ""}, "a:2"}, {"", Filter{"python3.9", ""}, ""},
		} {
			for size := range 3 { // 0: all in one page
				var all []Version
				page := Page{Max: size}
				for {
					var list []Version
					var err error
					if c.name == "" {
						list, page.Marker, err = s.List(ctx, project, c.filter, page)
					} else {
						list, page.Marker, err = s.ListVersions(ctx, project, c.name, c.filter, page)
					}
					if err != nil || size > 0 && len(list) > size {
						t.Fatalf("%d in a page, %v", len(list), err)
					}
					if all = append(all, list...); page.Marker == "" {
						break
					}
				}
				if numbers(all) != c.want {
					t.Errorf("%s %+v in pages of %d: %q, want %q", c.name, c.filter, size, numbers(all), c.want)
				}
			}
		}
		_, _, err = s.List(ctx, project, Filter{}, Page{Marker: "?"})
		wantError(t, "a marker", err, hansom.Invalid, "The marker is not valid")

		// Numbers are never used again, also when all versions are gone.
		for number := range int64(4) {
			if err := s.Delete(ctx, project, "a", number+1); err != nil {
				t.Error(err)
			}
		}
		if v := publish(t, s, project, "a"); v.Number != 4 {
			t.Errorf("a number is used again: %d", v.Number)
		}
		_, err = s.Get(ctx, project, project, "a", 3)
		wantError(t, "a deleted version", err, hansom.NotFound, "The resource you requested does not exist.")
		_, err = s.Get(ctx, project, project, "a", 0)
		wantError(t, "version 0", err, hansom.Invalid, "Layer Version Cannot be less than 1.")
		wantError(t, "version 0", s.Delete(ctx, project, "a", 0), hansom.Invalid, "Layer Version Cannot be less than 1.")
		if v, err := s.Get(ctx, other, other, "a", 1); err != nil || v.Project != other {
			t.Errorf("the other project's layer: %v", err)
		}

		for what, in := range map[string]PublishInput{
			"Please provide a source": {Name: "x"}, "Could not unzip": {Name: "x", Zip: []byte("no zip")}, "the layer name": {Name: "a b", Zip: pack(t, "")},
		} {
			_, err := s.Publish(ctx, project, in)
			wantError(t, what, err, hansom.Invalid, what)
		}
		_, err = s.Publish(ctx, project, PublishInput{Name: "x", Zip: make([]byte, hansom.MaxZipInline+1)})
		wantError(t, "a large zip", err, hansom.TooLarge, "are allowed")
		if v := publish(t, s, project, "x"); v.Number != 1 {
			t.Errorf("a refused layer took a number: %d", v.Number)
		}
	})
}

func TestPermissions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := open(t, t.TempDir(), d)
		v := publish(t, s, project, "a")
		resolve := func(project, arn string) error {
			return d.Write(ctx, func(tx *db.Tx) error {
				l, err := s.Resolve(ctx, tx, project, arn)
				if err == nil && (l.ARN != v.ARN() || l.SHA256 != v.SHA256 || l.Size != v.Size) {
					t.Errorf("resolved %+v", l)
				}
				return err
			})
		}
		const denied = "User: arn:aws:iam::222222222222:root is not authorized to perform: lambda:GetLayerVersion on resource: "
		check := func(allowed bool) {
			t.Helper()
			_, get := s.Get(ctx, other, project, "a", 1)
			for what, err := range map[string]error{"Resolve": resolve(other, v.ARN()), "Get": get} {
				if allowed && err != nil {
					t.Errorf("%s: %v", what, err)
				} else if !allowed {
					wantError(t, what, err, hansom.Denied, denied+v.ARN()+" because no resource-based policy allows the lambda:GetLayerVersion action")
				}
			}
			if err := resolve(project, v.ARN()); err != nil {
				t.Error(err)
			}
		}
		add := func(id, principal, revision string) (string, error) {
			_, revision, err := s.AddPermission(ctx, project, "a", 1, PermissionInput{StatementID: id, Action: "lambda:GetLayerVersion", Principal: principal, RevisionID: revision})
			return revision, err
		}
		check(false)
		_, _, err := s.Policy(ctx, project, "a", 1)
		wantError(t, "no policy", err, hansom.NotFound, "No policy is associated with the given resource.")
		if _, err := add("third", "333333333333", ""); err != nil {
			t.Fatal(err)
		}
		check(false)
		if _, _, err := s.AddPermission(ctx, project, "a", 1, PermissionInput{StatementID: "org", Action: "lambda:GetLayerVersion", Principal: "*", OrganizationID: "o-1234567890"}); err != nil {
			t.Fatal(err)
		}
		check(false) // there are no organisations
		for i, principal := range []string{other, "*", "arn:aws:iam::" + other + ":root"} {
			id := fmt.Sprint("s", i)
			revision, err := add(id, principal, "")
			if err != nil {
				t.Fatal(err)
			}
			check(true)
			_, err = add(id, principal, revision)
			wantError(t, "the same id", err, hansom.Conflict, "The statement id ("+id+") provided already exists.")
			_, err = add("more", principal, "old")
			wantError(t, "an old revision", err, hansom.Precondition, "The Revision Id provided does not match")
			document, now, err := s.Policy(ctx, project, "a", 1)
			if err != nil || now != revision || !json.Valid([]byte(document)) {
				t.Errorf("revision %s, want %s: %s, %v", now, revision, document, err)
			}
			wantError(t, "an old revision", s.RemovePermission(ctx, project, "a", 1, id, "old"), hansom.Precondition, "does not match")
			if err := s.RemovePermission(ctx, project, "a", 1, id, revision); err != nil {
				t.Error(err)
			}
			check(false)
			wantError(t, "a removed statement", s.RemovePermission(ctx, project, "a", 1, id, ""), hansom.NotFound, "Statement "+id+" is not found in resource policy.")
		}
		document, _, err := s.Policy(ctx, project, "a", 1)
		const want = `{"Version":"2012-10-17","Id":"default","Statement":[` +
			`{"Sid":"third","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::333333333333:root"},"Action":"lambda:GetLayerVersion","Resource":"arn:aws:lambda:us-east-1:111111111111:layer:a:1"},` +
			`{"Sid":"org","Effect":"Allow","Principal":"*","Action":"lambda:GetLayerVersion","Resource":"arn:aws:lambda:us-east-1:111111111111:layer:a:1","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1234567890"}}}]}`
		if document != want || err != nil {
			t.Errorf("%v\n%s", err, document)
		}
		_, err = add("long", "alice", "")
		wantError(t, "a user", err, hansom.Invalid, "The provided principal was invalid.")
		for i := range 200 {
			if _, err = add(fmt.Sprint("many", i), "*", ""); err != nil {
				break
			}
		}
		wantError(t, "a long policy", err, hansom.Invalid, "is bigger than the limit (20480)")
		_, _, err = s.AddPermission(ctx, project, "a", 9, PermissionInput{StatementID: "x", Action: "lambda:GetLayerVersion", Principal: "*"})
		wantError(t, "no such version", err, hansom.NotFound, "Layer version arn:aws:lambda:us-east-1:111111111111:layer:a:9 does not exist.")

		for arn, c := range map[string]struct {
			kind    hansom.Kind
			message string
		}{
			"arn:aws:lambda:us-east-1:111111111111:layer:a:9":  {hansom.Invalid, "Layer version arn:aws:lambda:us-east-1:111111111111:layer:a:9 does not exist."},
			"arn:aws:lambda:eu-west-1:111111111111:layer:a:1":  {hansom.Invalid, "Layers are expected to be in region us-east-1."},
			"arn:aws:lambda:eu-west-1:222222222222:layer:a:1":  {hansom.Denied, "arn:aws:iam::111111111111:root is not authorized"},
			"arn:aws:lambda:us-east-1:222222222222:layer:a:1":  {hansom.Denied, "arn:aws:iam::111111111111:root is not authorized"},
			"arn:aws:lambda:::awslayer:AmazonLinux1703":        {hansom.Invalid, "does not exist."},
			"arn:aws:lambda:us-east-1:111111111111:function:a": {hansom.Invalid, "does not exist."},
			"a": {hansom.Invalid, "does not exist."},
		} {
			wantError(t, arn, resolve(project, arn), c.kind, c.message)
		}
	})
}
