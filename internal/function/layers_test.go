package function

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func names(layers []hansom.Layer) string {
	var out []string
	for _, l := range layers {
		out = append(out, strings.TrimPrefix(l.ARN, layerARN("")))
	}
	return strings.Join(out, " ")
}

func arns(names ...string) []string {
	out := []string{}
	for _, name := range names {
		out = append(out, layerARN(name))
	}
	return out
}

func TestLayers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := running(t, d)
		changed := changes(d)
		layers := s.layers.(shelf)
		for _, name := range []string{"a:1", "a:2", "b:1", "c:1", "d:1", "e:1", "f:1"} {
			layers.put(t, s, name, strings.ReplaceAll(name, ":", "-"), name)
		}
		layers.put(t, s, "over:1", "a-1", "over")

		in := simple(t, "f")
		in.Layers, in.Publish = arns("a:1", "b:1"), true
		if f := create(t, s, in); names(f.Layers) != "a:1 b:1" || f.Number != "1" {
			t.Fatalf("version %s with the layers %s", f.Number, names(f.Layers))
		}
		settle(t, s, changed, project, "f")

		for message, list := range map[string][]string{
			"Cannot reference more than 5 layers.":                      arns("a:1", "b:1", "c:1", "d:1", "e:1", "f:1"),
			"Layer version " + layerARN("x:1") + " does not exist.":     arns("x:1"),
			layerARN("a:1") + " and " + layerARN("a:2") + " are versio": arns("a:1", "b:1", "a:2"),
			layerARN("b:1") + " and " + layerARN("b:1") + " are versio": arns("b:1", "b:1"),
		} {
			_, err := s.UpdateConfiguration(ctx, project, "f", UpdateConfigurationInput{Layers: list})
			wantError(t, fmt.Sprint(list), err, hansom.Invalid, message)
		}

		if _, err := s.UpdateConfiguration(ctx, project, "f", UpdateConfigurationInput{Layers: arns("a:1", "over:1")}); err != nil {
			t.Fatal(err)
		}
		f := settle(t, s, changed, project, "f")
		target, err := s.Resolve(ctx, project, "f", "")
		if err != nil || names(f.Layers) != "a:1 over:1" || names(target.Version.Layers) != names(f.Layers) {
			t.Fatalf("layers %q, resolved %q, %v", names(f.Layers), names(target.Version.Layers), err)
		}
		_, opt, release, err := s.Code(ctx, target.Version)
		if err != nil || read(t, opt, "a-1") != "over" {
			t.Fatalf("the later layer does not win: %v", err)
		}
		release()

		// A layer's version is deleted: who uses it goes on, and so does an app that is deployed again.
		delete(layers, "a:1")
		if _, err := s.UpdateCode(ctx, project, "f", UpdateCodeInput{Code: Source{Zip: archive(t, "index.py", "2")}}); err != nil {
			t.Fatal(err)
		}
		if f := settle(t, s, changed, project, "f"); names(f.Layers) != "a:1 over:1" || f.State != StateActive {
			t.Errorf("after an update of the code: %q, %s", names(f.Layers), f.State)
		}
		if _, err := s.UpdateConfiguration(ctx, project, "f", UpdateConfigurationInput{Layers: []string{}}); err != nil {
			t.Fatal(err)
		}
		if f := settle(t, s, changed, project, "f"); f.Layers != nil {
			t.Errorf("layers are left: %q", names(f.Layers))
		}
		if f, err := s.Get(ctx, project, "f", "1"); err != nil || names(f.Layers) != "a:1 b:1" {
			t.Errorf("the published version has %q, %v", names(f.Layers), err)
		}
		_, err = s.UpdateConfiguration(ctx, project, "f", UpdateConfigurationInput{Layers: arns("a:1")})
		wantError(t, "a deleted layer", err, hansom.Invalid, "does not exist")
	})
}

func TestDeployLayers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := running(t, d)
		changed := changes(d)
		layers := s.layers.(shelf)
		layers.put(t, s, "a:1", "a", "1")
		zip := archive(t, "index.py", "app")
		if err := s.artifacts.Put(ctx, project, zip, true); err != nil {
			t.Fatal(err)
		}
		v := hansom.Version{Project: project, Function: "app-api", App: "app", Runtime: "python3.12", Handler: "index.handler", CodeSHA256: digestOf(zip),
			Layers: []hansom.Layer{{ARN: layerARN("a:1")}}}
		deploy := func() (changed bool, err error) {
			err = d.Write(ctx, func(tx *db.Tx) (err error) { changed, err = s.Deploy(ctx, tx, v); return err })
			return changed, err
		}
		if did, err := deploy(); !did || err != nil {
			t.Fatal(did, err)
		}
		f := settle(t, s, changed, project, "app-api")
		if diff := cmp.Diff([]hansom.Layer{layers["a:1"]}, f.Layers); diff != "" {
			t.Error(diff)
		}
		delete(layers, "a:1")
		if did, err := deploy(); did || err != nil {
			t.Errorf("the same again, whose layer was deleted: %v, %v", did, err)
		}
		v.Memory = 256
		if did, err := deploy(); !did || err != nil {
			t.Errorf("more memory, and a layer that was deleted: %v, %v", did, err)
		}
		settle(t, s, changed, project, "app-api")
		v.Layers = []hansom.Layer{{ARN: layerARN("b:1")}}
		_, err := deploy()
		wantError(t, "a layer that never was", err, hansom.Invalid, "b:1 does not exist")
	})
}

// Code and layers have 250 MB together.
func TestUnpackedSize(t *testing.T) {
	ctx := context.Background()
	d := dbtest.Open(t, dbtest.SQLite(t))
	s := running(t, d)
	changed := changes(d)
	layers := s.layers.(shelf)
	big := strings.Repeat("0", 85<<20)
	for _, name := range []string{"a:1", "b:1"} {
		layers.put(t, s, name, name[:1], big)
	}
	in := simple(t, "f")
	in.Layers = arns("a:1", "b:1")
	create(t, s, in)
	settle(t, s, changed, project, "f")
	const message = "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual size is 267386880 bytes."
	code := Source{Zip: archive(t, "index.py", big)}
	for _, dry := range []bool{true, false} {
		_, err := s.UpdateCode(ctx, project, "f", UpdateCodeInput{Code: code, DryRun: dry})
		wantError(t, "UpdateCode", err, hansom.Invalid, message)
	}
	in.Name, in.Code = "g", code
	_, err := s.Create(ctx, project, in)
	wantError(t, "Create", err, hansom.Invalid, message)
	in.Layers = arns("a:1")
	create(t, s, in)
	settle(t, s, changed, project, "g")
	_, err = s.UpdateConfiguration(ctx, project, "g", UpdateConfigurationInput{Layers: arns("a:1", "b:1")})
	wantError(t, "UpdateConfiguration", err, hansom.Invalid, message)
}

func TestTags(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := running(t, d)
		changed := changes(d)
		in := simple(t, "f")
		in.Tags = map[string]string{"a": "1", "ключ é": "+-=._:/@"}
		before := create(t, s, in)
		settle(t, s, changed, project, "f")
		check := func(want map[string]string) {
			t.Helper()
			got, err := s.Tags(ctx, project, "f")
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		}
		check(in.Tags)
		if err := s.Tag(ctx, project, "f", map[string]string{"a": "2", "b": ""}); err != nil {
			t.Fatal(err)
		}
		check(map[string]string{"a": "2", "b": "", "ключ é": "+-=._:/@"})
		if err := s.Untag(ctx, project, "f", []string{"a", "nope", "ключ é"}); err != nil {
			t.Fatal(err)
		}
		check(map[string]string{"b": ""})

		many := map[string]string{}
		for i := range 50 {
			many[fmt.Sprint("k", i)] = "v"
		}
		for what, tags := range map[string]map[string]string{
			"Number of tags exceeds resource tag limit.": many,
			"aws: prefixed tag key names":                {"AWS:x": "1"},
			`the tag key ""`:                             {"": "1"},
			"letters, digits, spaces":                    {strings.Repeat("é", 129): "1"},
			"the tag key \"a#\"":                         {"a#": "1"},
			`the value of the tag "v"`:                   {"v": strings.Repeat("x", 257)},
			`the value of the tag "w"`:                   {"w": "a\nb"},
		} {
			wantError(t, what, s.Tag(ctx, project, "f", tags), hansom.Invalid, what)
		}
		check(map[string]string{"b": ""})
		if err := s.Tag(ctx, project, "f", map[string]string{strings.Repeat("é", 128): strings.Repeat("é", 256)}); err != nil {
			t.Error(err)
		}
		in.Name, in.Tags = "g", many
		in.Tags["one more"] = ""
		_, err := s.Create(ctx, project, in)
		wantError(t, "Create", err, hansom.Invalid, "Number of tags exceeds resource tag limit.")

		// Tags are no part of a version, and go with the function.
		if after, err := s.Get(ctx, project, "f", ""); err != nil || after.Revision != before.Revision {
			t.Errorf("tags made another revision: %v", err)
		}
		if err := s.Delete(ctx, project, "f", ""); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{s.Tag(ctx, project, "f", nil), s.Untag(ctx, project, "f", nil)} {
			wantError(t, "a deleted function", err, hansom.NotFound, "Function not found: arn:aws:lambda:us-east-1:111111111111:function:f")
		}
		create(t, s, simple(t, "f"))
		check(map[string]string{})
	})
}
