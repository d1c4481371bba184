package hansomapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
)

// fakeBuses are one bus in each project, default, which takes room events.
type fakeBuses struct {
	left  chan struct{} // closed when the follower has gone
	room  int
	taken []hansom.Delivery
}

func (b *fakeBuses) Forward(_ context.Context, d hansom.Delivery) error {
	if !strings.HasSuffix(d.ARN, ":"+d.Project+":event-bus/default") {
		return hansom.Errorf(hansom.NotFound, "forward", "there is no bus %s", d.ARN)
	}
	if len(b.taken) == b.room {
		return hansom.Errorf(hansom.Unavailable, "forward", "the disk is nearly full")
	}
	d.Payload = slices.Clone(d.Payload)
	b.taken = append(b.taken, d)
	return nil
}

// post sends to a bus; header is pairs.
func (f *fixture) post(creds hansom.Credentials, bus, body string, header ...string) (status int, retry, message string) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), "POST", f.url+"/_hansom/v1/buses/"+bus+"/events", strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	sum := sha256.Sum256([]byte(body))
	auth.Sign(r, creds, "us-east-1", "hansom", hex.EncodeToString(sum[:]), time.Now())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	var out struct {
		Error struct{ Code, Message string }
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			f.t.Fatalf("%s: %v", text, err)
		}
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), out.Error.Code + ": " + out.Error.Message
}

func TestCloudEvents(t *testing.T) {
	f := newFixture(t)
	f.buses.room = 100
	id, acme := f.tenant("acme")
	one := []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "shop", "Ce-Type", "t", "Content-Type", "application/json", "X-Amzn-Trace-Id", "Root=1"}
	if status, _, message := f.post(acme, "default", `{"a":1}`, one...); status != http.StatusAccepted || len(f.buses.taken) != 1 {
		t.Fatal(status, message)
	}
	got := f.buses.taken[0]
	prefix, suffix := `{"version":"0","id":"1","detail-type":"t","source":"shop","account":"`+id+`","time":"`, `Z","region":"us-east-1","resources":[],"detail":{"a":1}}`
	if got.Project != id || got.ARN != "arn:aws:events:us-east-1:"+id+":event-bus/default" || got.Trace != "Root=1" ||
		!strings.HasPrefix(string(got.Payload), prefix) || !strings.HasSuffix(string(got.Payload), suffix) {
		t.Errorf("%+v %s", got, got.Payload)
	}
	function := f.auth.IssueFunction(&hansom.Version{Region: "us-east-1", Project: id, Function: "f"}, time.Hour)
	if status, _, message := f.post(function, "default", `{}`, one...); status != http.StatusAccepted {
		t.Errorf("of a function: %d %s", status, message)
	}
	event := func(id int, more string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"shop","type":"t"%s}`, id, more)
	}
	const structured, batched = "application/cloudevents+json", "application/cloudevents-batch+json"
	for _, c := range []struct {
		name, bus, contentType, body string
		status                       int
		message                      string
		taken                        int
	}{
		{"structured", "default", structured, event(1, ""), 202, "", 1},
		{"a batch", "default", batched, "[" + event(1, "") + "," + event(2, "") + "]", 202, "", 2},
		{"an empty batch", "default", batched, "[]", 202, "", 0},
		{"one of a batch is wrong", "default", batched, "[" + event(1, "") + "," + event(2, `,"x":[]`) + "]", 400, "Invalid: event 2 of 2: the attribute x", 0},
		{"one of a batch is too large", "default", batched, "[" + event(1, "") + "," + event(2, `,"data":"`+strings.Repeat("x", 256<<10)+`"`) + "]", 413, "TooLarge: event 2 of 2: the event has ", 0},
		{"too large", "default", structured, strings.Repeat(" ", 1<<20) + event(1, ""), 413, "TooLarge: the body has more", 0},
		{"from the platform", "default", structured, strings.Replace(event(1, ""), "shop", "aws.s3", 1), 403, "AccessDenied: sources that begin with aws.", 0},
		{"not an event", "default", "application/json", "{}", 415, "UnsupportedMediaType: this is no CloudEvent", 0},
		{"another bus", "other", structured, event(1, ""), 404, "NotFound: there is no bus", 0},
	} {
		f.buses.taken = nil
		status, retry, message := f.post(acme, c.bus, c.body, "Content-Type", c.contentType)
		if status != c.status || !strings.Contains(message, c.message) || len(f.buses.taken) != c.taken || retry != "" {
			t.Errorf("%s: %d %s, %d taken, retry after %q", c.name, status, message, len(f.buses.taken), retry)
		}
	}
	f.buses = fakeBuses{room: 1}
	status, retry, message := f.post(acme, "default", "["+event(1, "")+","+event(2, "")+","+event(3, "")+"]", "Content-Type", batched)
	if status != 503 || retry != "1" || message != "Unavailable: 1 of 3 events were taken, the others not: the disk is nearly full; send all of them again" {
		t.Error(status, retry, message)
	}
	if status, retry, message := f.post(acme, "default", event(4, ""), "Content-Type", structured); status != 503 || retry != "1" || message != "Unavailable: the disk is nearly full" {
		t.Error(status, retry, message)
	}
	if status, _, message := f.post(hansom.Credentials{AccessKeyID: acme.AccessKeyID, SecretAccessKey: "x"}, "default", event(1, ""), "Content-Type", structured); status != 403 {
		t.Error(status, message)
	}
}
