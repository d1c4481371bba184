package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestRequests(t *testing.T) {
	text, err := os.ReadFile("testdata/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Kind    string
		Auth          json.RawMessage
		Method, URL   string
		Payload       string
		Path          []string
		Query, Header map[string]string
		Want          []string
		Error         string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	s := running(t, nil)
	to := newServer(t, nil)
	for i, c := range cases {
		d := destination(t, s, fmt.Sprint("d", i), c.Method, to.URL+c.URL, c.Kind, string(c.Auth))
		err := s.Send(t.Context(), hansom.Delivery{Project: project, ARN: d.ARN, Payload: []byte(c.Payload), HTTP: &hansom.HTTPParameters{Path: c.Path, Header: c.Header, Query: c.Query}})
		got := to.taken()
		if c.Error != "" {
			refusal(t, c.Name, err, hansom.Invalid, c.Error)
			if len(got) != 0 {
				t.Errorf("%s: %q was sent", c.Name, got)
			}
			continue
		}
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %v %q", c.Name, err, got)
			continue
		}
		if diff := cmp.Diff(c.Want, got[0]); diff != "" {
			t.Errorf("%s: %s", c.Name, diff)
		}
	}
}

// An answer says whether the event has arrived, comes again, or never will.
func TestAnswers(t *testing.T) {
	s := running(t, nil)
	status, after := 0, ""
	to := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.Header().Set("Location", "http://169.254.169.254/")
		w.WriteHeader(status)
	})
	d := destination(t, s, "d", "POST", to.URL, APIKeyAuth, keyAuth)
	for n, want := range map[int]hansom.Kind{301: hansom.Invalid, 307: hansom.Invalid, 400: hansom.Invalid, 401: hansom.Invalid, 403: hansom.Invalid, 404: hansom.Invalid, 407: hansom.Invalid,
		408: hansom.Invalid, 409: hansom.Unavailable, 410: hansom.Invalid, 429: hansom.Throttled, 500: hansom.Unavailable, 503: hansom.Unavailable, 599: hansom.Unavailable} {
		status, after = n, "7"
		err := send(t, s, d)
		refusal(t, fmt.Sprint(n), err, want, fmt.Sprintf("Unable to invoke ApiDestination endpoint: API destination endpoint returned the HTTP status %d.", n))
		if e := (*hansom.Error)(nil); !errors.As(err, &e) || e.After != 7*time.Second {
			t.Errorf("%d: %+v", n, e)
		}
	}
	for _, n := range []int{200, 201, 202, 204, 299} {
		if status = n; send(t, s, d) != nil {
			t.Error(n)
		}
	}
	if n := len(to.taken()); n != 19 { // a redirect is not followed
		t.Errorf("%d requests", n)
	}
}

func TestUnreachable(t *testing.T) {
	var log bytes.Buffer
	s := running(t, &log)
	s.cfg.Timeout = 100 * time.Millisecond
	release := make(chan struct{})
	slow := newServer(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	closed := newServer(t, nil)
	closed.Close()
	const prefix = "Unable to invoke ApiDestination endpoint: "
	d := destination(t, s, "slow", "POST", slow.URL+"?q=hush", APIKeyAuth, keyAuth)
	refusal(t, "slow", send(t, s, d), hansom.Timeout, prefix+"Timeout calling endpoint for API Destination: no answer within 100ms.")
	d = destination(t, s, "closed", "POST", closed.URL+"?q=hush", APIKeyAuth, keyAuth)
	refusal(t, "closed", send(t, s, d), hansom.Unavailable, prefix+"API destination endpoint cannot be reached.")
	d = destination(t, s, "metadata", "POST", "http://169.254.169.254/latest", APIKeyAuth, keyAuth)
	refusal(t, "metadata", send(t, s, d), hansom.Denied, prefix+"169.254.169.254 cannot be reached: link-local addresses and metadata services never are")

	gone := *d
	gone.ARN += "x"
	refusal(t, "gone", send(t, s, &gone), hansom.NotFound, "The API destination "+gone.ARN+" does not exist.")
	if err := s.Send(t.Context(), hansom.Delivery{Project: "111111111111", ARN: d.ARN}); hansom.KindOf(err) != hansom.NotFound {
		t.Error(err)
	}
	if _, err := s.DeauthorizeConnection(t.Context(), project, "closed"); err != nil {
		t.Fatal(err)
	}
	closedD, _ := s.Destination(project, "closed")
	refusal(t, "deauthorized", send(t, s, closedD), hansom.Denied, prefix+"the connection closed is not authorized.")
	if _, err := s.DeleteConnection(t.Context(), project, "closed"); err != nil {
		t.Fatal(err)
	}
	refusal(t, "no connection", send(t, s, closedD), hansom.NotFound, prefix+"the connection "+closedD.Connection+" does not exist.")
	if strings.Contains(log.String(), "hush") || strings.Contains(log.String(), "top secret") {
		t.Error(log.String())
	}
}

// An end of the server ends what waits for its turn, and lets a request end that has begun.
func TestStop(t *testing.T) {
	s := running(t, nil)
	begun, release := make(chan struct{}), make(chan struct{})
	to := newServer(t, func(http.ResponseWriter, *http.Request) { close(begun); <-release })
	d := destination(t, s, "d", "POST", to.URL, APIKeyAuth, keyAuth)
	if _, err := s.UpdateDestination(t.Context(), project, DestinationInput{Name: "d", Rate: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- s.Send(ctx, hansom.Delivery{Project: project, ARN: d.ARN}) }()
	<-begun
	go func() { second <- s.Send(ctx, hansom.Delivery{Project: project, ARN: d.ARN}) }()
	stop()
	if err := <-second; hansom.KindOf(err) != hansom.Canceled {
		t.Error(err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, begin := &pace{}, time.Now()
		var work sync.WaitGroup
		var last atomic.Int64
		for range 31 {
			work.Go(func() {
				if err := p.wait(t.Context(), time.Now(), 10); err != nil {
					t.Error(err)
				}
				last.Store(max(last.Load(), int64(time.Since(begin))))
			})
		}
		work.Wait()
		if d := time.Duration(last.Load()); d != 3*time.Second {
			t.Errorf("31 requests at 10 a second took %s", d)
		}
		time.Sleep(time.Hour) // what was not used is not saved up
		begin = time.Now()
		for range 3 {
			_ = p.wait(t.Context(), time.Now(), 10)
		}
		if d := time.Since(begin); d != 200*time.Millisecond {
			t.Error(d)
		}
	})
}

// issuer is an authorization endpoint. It gives out t1, t2 and so on.
type issuer struct {
	*server
	status  atomic.Int64
	expires atomic.Int64 // seconds; 0 does not say
	n       atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	i.status.Store(200)
	i.server = newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(i.status.Load()))
		if i.status.Load() != 200 {
			fmt.Fprint(w, `{"error": "invalid_client"}`)
			return
		}
		out := map[string]any{"access_token": fmt.Sprint("t", i.n.Add(1)), "token_type": "Bearer"}
		if n := i.expires.Load(); n > 0 {
			out["expires_in"] = n
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	return i
}

func (i *issuer) auth(more string) string {
	return `{"OAuthParameters": {"ClientParameters": {"ClientID": "me&", "ClientSecret": "hush"}, "AuthorizationEndpoint": "` + i.URL + `/token?a=1", ` + more + `}}`
}

// waitState waits until a connection has left Authorizing.
func waitState(t *testing.T, s *Service, name string) *Connection {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		c, err := s.Connection(project, name)
		if err != nil || time.Now().After(end) {
			t.Fatal(c, err)
		}
		if c.State != Authorizing {
			return c
		}
	}
}

// A token is fetched once and used until it expires or is refused.
func TestTokens(t *testing.T) {
	s := running(t, nil)
	i := newIssuer(t)
	i.expires.Store(3600)
	good := atomic.Pointer[string]{}
	accept := func(token string) { good.Store(&token) }
	accept("t1")
	to := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+*good.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	d := destination(t, s, "d", "POST", to.URL, OAuthAuth, i.auth(`"HttpMethod": "POST"`))
	if c := waitState(t, s, "d"); c.State != Authorized || c.Authorized.IsZero() || !s.Active(d) {
		t.Fatalf("%+v", c)
	}
	for range 3 {
		if err := send(t, s, d); err != nil {
			t.Error(err)
		}
	}
	if got := i.taken(); len(got) != 1 || got[0][0] != "POST /token?a=1" || got[0][len(got[0])-1] != "client_id=me%26&client_secret=hush&grant_type=client_credentials" {
		t.Errorf("%q", got)
	}
	accept("t2")
	var work sync.WaitGroup
	for range 10 {
		work.Go(func() {
			if err := send(t, s, d); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if n := len(i.taken()); n != 1 {
		t.Errorf("%d tokens after one was refused", n)
	}
	accept("none")
	refusal(t, "refused", send(t, s, d), hansom.Unavailable, "Unable to invoke ApiDestination endpoint: API destination endpoint returned the HTTP status 401.")
	if n := len(i.taken()); n != 1 {
		t.Errorf("%d tokens for one request", n)
	}
	accept("t4")
	s.cfg.Now = func() time.Time { return time.Now().Add(time.Hour) }
	if err := send(t, s, d); err != nil {
		t.Error(err)
	}
	i.status.Store(500)
	s.cfg.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	for range 3 {
		refusal(t, "no token", send(t, s, d), hansom.Unavailable, "The authorization endpoint answered with the HTTP status 500: invalid_client.")
	}
	if n := len(i.taken()); n != 2 { // the one that expired, and one attempt in a second
		t.Errorf("%d", n)
	}
}

// A connection whose first token is refused says why, and an update tries again. One that waits for it when the server ends goes on after the restart.
func TestAuthorization(t *testing.T) { dbtest.Each(t, testAuthorization) }

func testAuthorization(t *testing.T, d *db.DB) {
	before := newService(t, d, nil) // it does not run
	i := newIssuer(t)
	i.status.Store(401)
	if c := connect(t, before, "c", OAuthAuth, i.auth(`"HttpMethod": "GET", "OAuthHttpParameters": {"QueryStringParameters": [{"Key": "q", "Value": "1"}], "BodyParameters": [{"Key": "scope", "Value": "all"}], "HeaderParameters": [{"Key": "X-A", "Value": "1"}]}`)); c.State != Authorizing || !c.Authorized.IsZero() {
		t.Errorf("%+v", c)
	}
	s := newService(t, d, nil)
	run(t, s)
	if c := waitState(t, s, "c"); c.State != Deauthorized || c.Reason != "The authorization endpoint answered with the HTTP status 401: invalid_client." || !c.Authorized.IsZero() {
		t.Errorf("%+v", c)
	}
	if got := i.taken(); len(got) != 1 || got[0][0] != "GET /token?a=1&client_id=me%26&client_secret=hush&grant_type=client_credentials&q=1&scope=all" || !strings.Contains(strings.Join(got[0], "\n"), "X-A: 1") || got[0][len(got[0])-1] != "" {
		t.Errorf("%q", got)
	}
	i.status.Store(200)
	_, err := s.UpdateConnection(t.Context(), project, ConnectionInput{Name: "c", Auth: authOf(t, `{"OAuthParameters": {"ClientParameters": {"ClientID": "you"}, "HttpMethod": "PUT",
		"OAuthHttpParameters": {"HeaderParameters": [{"Key": "Content-Type", "Value": "application/json"}]}}}`)})
	if err != nil {
		t.Fatal(err)
	}
	if c := waitState(t, s, "c"); c.State != Authorized || c.Reason != "" || c.Authorized.IsZero() {
		t.Errorf("%+v", c)
	}
	if got := i.taken(); len(got) != 1 || got[0][0] != "PUT /token?a=1" || got[0][len(got[0])-1] != `{"client_id":"you","client_secret":"hush","grant_type":"client_credentials"}` {
		t.Errorf("%q", got)
	}
	if _, err := s.UpdateConnection(t.Context(), project, ConnectionInput{Name: "c", Auth: authOf(t, `{"OAuthParameters": {"AuthorizationEndpoint": "http://169.254.169.254/"}}`)}); err != nil {
		t.Fatal(err)
	}
	if c := waitState(t, s, "c"); c.State != Deauthorized || !strings.Contains(c.Reason, "metadata services never are") {
		t.Errorf("%+v", c)
	}
}
