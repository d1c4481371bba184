package event

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/pattern"
)

func refusal(t *testing.T, what string, err error, kind hansom.Kind, message string) {
	t.Helper()
	if err == nil || hansom.KindOf(err) != kind || err.Error() != message {
		t.Errorf("%s: got %v (%d)\nwant %s (%d)", what, err, hansom.KindOf(err), message, kind)
	}
}

// What is made is there again after a restart, as it was.
func TestStore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		w := newWorld()
		s := newService(t, d, w)
		at := time.UnixMicro(1_700_000_000_123_456).UTC()
		s.now = func() time.Time { at = at.Add(time.Second); return at }
		var made []Mapping
		for i := range 5 {
			m, err := s.Create(ctx, project, Input{Source: jobs, Function: "f", Qualifier: fmt.Sprint(i + 1), Batch: to(20), Window: to(300), Concurrency: to(2),
				Filters: []string{`{"body":["x"]}`}, Partial: to(true), Metrics: []string{"EventCount"}, Tags: map[string]string{"a": "b"}, Enabled: to(i > 0)})
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, m)
		}
		plain, err := s.Create(ctx, project, Input{Source: ordered, Function: "f"})
		if err != nil {
			t.Fatal(err)
		}
		if made[0].State != "Disabled" || made[1].State != "Creating" || plain.State != "Creating" || plain.Batch != 10 || plain.Window != 0 ||
			plain.ARN != "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:"+plain.ID || made[1].FunctionARN != "arn:aws:lambda:us-east-1:000000000000:function:f:2" {
			t.Errorf("%+v\n%+v\n%+v", made[0], made[1], plain)
		}
		updated, err := s.Update(ctx, project, made[1].ID, Input{Function: "g", Batch: to(30), Concurrency: to(0), Filters: []string{}, Partial: to(false), Metrics: []string{}})
		if err != nil || updated.State != "Updating" || updated.FunctionARN != "arn:aws:lambda:us-east-1:000000000000:function:g" || updated.Batch != 30 || updated.Window != 300*time.Second ||
			updated.Concurrency != 0 || updated.Partial || len(updated.Filters) != 0 || !updated.Modified.After(updated.Created) {
			t.Errorf("%+v %v", updated, err)
		}
		if err := s.Tag(ctx, project, made[2].ID, map[string]string{"c": "d"}, []string{"a"}); err != nil {
			t.Error(err)
		}
		if m, err := s.Delete(ctx, project, made[3].ID); err != nil || m.State != "Deleting" || m.ID != made[3].ID {
			t.Errorf("%+v %v", m, err)
		}
		before, next, err := s.List(project, "", "", "", 0)
		if err != nil || next != "" || len(before) != 5 || before[2].Tags["c"] != "d" || len(before[2].Tags) != 1 {
			t.Fatalf("%+v %q %v", before, next, err)
		}
		again, _, err := newService(t, d, w).List(project, "", "", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		patterns := cmp.Comparer(func(a, b *pattern.Pattern) bool { return a.String() == b.String() })
		if diff := cmp.Diff(before, again, patterns, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}

		var ids, want []string
		for marker := ""; ; {
			page, next, err := s.List(project, "", "", marker, 2)
			if err != nil || len(page) > 2 {
				t.Fatal(len(page), err)
			}
			for _, m := range page {
				ids = append(ids, m.ID)
			}
			if marker = next; next == "" {
				break
			}
		}
		for _, m := range before {
			want = append(want, m.ID)
		}
		same(t, ids, want...)
		if list, _, _ := s.List(project, ordered, "", "", 0); len(list) != 1 || list[0].ID != plain.ID {
			t.Errorf("%+v", list)
		}
		if list, _, _ := s.List(project, jobs, made[4].FunctionARN, "", 0); len(list) != 1 || list[0].ID != made[4].ID {
			t.Errorf("%+v", list)
		}
		if list, _, _ := s.List("111111111111", "", "", "", 0); len(list) != 0 {
			t.Errorf("another project sees %+v", list)
		}
		_, _, err = s.List(project, "", "", "*", 0)
		refusal(t, "marker", err, hansom.Invalid, "The marker is not valid; pass on the NextMarker of the page before.")
		if err := d.Write(ctx, func(tx *db.Tx) error { return s.RemoveProject(ctx, tx, project) }); err != nil {
			t.Error(err)
		}
		if list, _, _ := s.List(project, "", "", "", 0); len(list) != 0 {
			t.Errorf("a project that is removed has %+v", list)
		}
	})
}

func TestRefusals(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	w := newWorld()
	w.missing["gone"], w.missing["f:gone"] = true, true
	w.missing["arn:aws:sqs:us-east-1:000000000000:gone"] = true
	s := newService(t, d, w)
	ctx := t.Context()
	first, err := s.Create(ctx, project, Input{Source: jobs, Function: "f"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Create(ctx, project, Input{Source: jobs, Function: "f", Qualifier: "live"})
	if err != nil {
		t.Fatal(err)
	}
	noQueue := "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist."
	window := "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
	duplicate := `An event source mapping with SQS arn (" ` + jobs + ` ") and function (" f ") already exists. Please update or delete the existing mapping with UUID ` + first.ID
	for what, c := range map[string]struct {
		in   Input
		kind hansom.Kind
		want string
	}{
		"no source":         {Input{Function: "gone"}, hansom.Invalid, "Unrecognized event source."},
		"a topic":           {Input{Source: "arn:aws:sns:us-east-1:000000000000:x", Function: "f"}, hansom.Invalid, "Unrecognized event source."},
		"a stream":          {Input{Source: "arn:aws:kinesis:us-east-1:000000000000:stream/x", Function: "f"}, hansom.Unsupported, "Kinesis streams as event sources are not supported by this server. Use a queue of SQS."},
		"no function":       {Input{Source: jobs, Function: "gone"}, hansom.Invalid, "Function does not exist"},
		"no alias":          {Input{Source: jobs, Function: "f", Qualifier: "gone"}, hansom.Invalid, "Function does not exist"},
		"no queue":          {Input{Source: "arn:aws:sqs:us-east-1:000000000000:gone", Function: "f"}, hansom.Invalid, noQueue},
		"another region":    {Input{Source: "arn:aws:sqs:eu-west-1:000000000000:jobs", Function: "f"}, hansom.Invalid, noQueue},
		"another's queue":   {Input{Source: "arn:aws:sqs:us-east-1:111111111111:jobs", Function: "f"}, hansom.Invalid, "The provided execution role does not have permissions to call ReceiveMessage on SQS"},
		"no window":         {Input{Source: jobs, Function: "g", Batch: to(11)}, hansom.Invalid, window},
		"a window in order": {Input{Source: ordered, Function: "g", Window: to(1)}, hansom.Invalid, "Batching window is not supported for FIFO queues"},
		"a large batch":     {Input{Source: ordered, Function: "g", Batch: to(11)}, hansom.Invalid, window},
		"a filter":          {Input{Source: jobs, Function: "g", Filters: []string{`{"body":["x"`}}, hansom.Invalid, "Invalid filter pattern definition."},
		"filters":           {Input{Source: jobs, Function: "g", Filters: make([]string, 11)}, hansom.Invalid, "A mapping can have at most 10 filters."},
		"twice":             {Input{Source: jobs, Function: "f"}, hansom.Conflict, duplicate},
	} {
		_, err := s.Create(ctx, project, c.in)
		refusal(t, what, err, c.kind, c.want)
	}
	_, err = s.Update(ctx, project, first.ID, Input{Batch: to(11)})
	refusal(t, "update", err, hansom.Invalid, window)
	_, err = s.Update(ctx, project, other.ID, Input{Function: "f"})
	refusal(t, "update to one that is there", err, hansom.Conflict, duplicate)
	w.timeout = 31 * time.Second
	_, err = s.Create(ctx, project, Input{Source: jobs, Function: "g"})
	refusal(t, "visibility", err, hansom.Invalid, "Queue visibility timeout: 30 seconds is less than Function timeout: 31 seconds")

	const unknown = "The resource you requested does not exist."
	_, err = s.Get("111111111111", first.ID)
	refusal(t, "get another's", err, hansom.NotFound, unknown)
	_, err = s.Update(ctx, project, "x", Input{})
	refusal(t, "update none", err, hansom.NotFound, unknown)
	_, err = s.Delete(ctx, "111111111111", first.ID)
	refusal(t, "delete another's", err, hansom.NotFound, unknown)
	refusal(t, "tag none", s.Tag(ctx, project, "x", nil, nil), hansom.NotFound, unknown)

	// What has lost its function can still be disabled and deleted.
	w.timeout, w.missing["f"] = time.Second, true
	_, err = s.Update(ctx, project, first.ID, Input{Batch: to(1)})
	refusal(t, "update without the function", err, hansom.Invalid, "Function does not exist")
	if m, err := s.Update(ctx, project, first.ID, Input{Enabled: to(false)}); err != nil || m.State != "Disabling" {
		t.Error(m, err)
	}
	if _, err := s.Delete(ctx, project, first.ID); err != nil {
		t.Error(err)
	}
	if _, err := New(context.Background(), Config{}, d, Deps{}, nil); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
}
