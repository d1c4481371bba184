package endpoint

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/upstream"
)

func shown(t *testing.T, c *Connection) string {
	t.Helper()
	text, err := json.Marshal(c.Auth())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What is made is there again after a restart, as it was; its secrets are neither shown nor stored as they are.
func TestConnections(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		s := newService(t, d, nil)
		text := "it is so"
		basic, err := s.CreateConnection(ctx, project, ConnectionInput{Name: "basic", Kind: BasicAuth, Description: &text, Auth: authOf(t,
			`{"BasicAuthParameters": {"Username": "user", "Password": "hush-1"}, "InvocationHttpParameters": {"HeaderParameters": [{"Key": "X-A", "Value": "hush-2", "IsValueSecret": true}, {"Key": "X-B", "Value": "b"}]}}`)})
		if err != nil || basic.State != Authorized || basic.Authorized.IsZero() || basic.ARN != "arn:aws:events:us-east-1:000000000000:connection/basic/"+basic.ID {
			t.Fatalf("%+v %v", basic, err)
		}
		connect(t, s, "key", APIKeyAuth, keyAuth)
		if _, err := s.CreateConnection(ctx, "111111111111", ConnectionInput{Name: "basic", Kind: APIKeyAuth, Auth: authOf(t, keyAuth)}); err != nil {
			t.Fatal(err)
		}
		want := `{"BasicAuthParameters":{"Username":"user"},"InvocationHttpParameters":{"HeaderParameters":[{"Key":"X-A","IsValueSecret":true},{"Key":"X-B","Value":"b","IsValueSecret":false}]}}`
		var sealed string
		if err := d.Read().QueryRowContext(ctx, `SELECT auth FROM endpoint_connections WHERE project = ? AND name = ?`, project, "basic").Scan(&sealed); err != nil {
			t.Fatal(err)
		}
		raw, _ := base64.StdEncoding.DecodeString(sealed)
		if strings.Contains(sealed+string(raw), "hush") || len(raw) < 50 {
			t.Errorf("%s", raw)
		}
		for _, s := range []*Service{s, newService(t, d, nil)} {
			got, err := s.Connection(project, "basic")
			if err != nil || shown(t, got) != want || got.auth.Basic.Password != "hush-1" || got.auth.Invocation.Header[0].Value != "hush-2" {
				t.Errorf("%+v %v", got, err)
			}
			if diff := cmp.Diff(basic, got, cmpopts.IgnoreUnexported(Connection{})); diff != "" {
				t.Error(diff)
			}
			if list := s.Connections(project, "", ""); len(list) != 2 || list[0].Name != "basic" || list[1].Name != "key" {
				t.Errorf("%+v", list)
			}
			if n, m, o := len(s.Connections(project, "ke", "")), len(s.Connections(project, "", Authorized)), len(s.Connections(project, "", Deauthorized)); n != 1 || m != 2 || o != 0 {
				t.Error(n, m, o)
			}
		}
		// Sealed for one connection, it cannot be read as that of another one.
		if err := s.unseal(&Connection{ARN: basic.ARN + "x"}, sealed); err == nil {
			t.Error("a sealed text was read for another connection")
		}

		updated, err := s.UpdateConnection(ctx, project, ConnectionInput{Name: "basic", Auth: authOf(t, `{"BasicAuthParameters": {"Username": "new"}}`)})
		if err != nil || updated.auth.Basic.Password != "hush-1" || updated.auth.Basic.Username != "new" || updated.auth.Invocation == nil || updated.Description != text || updated.ID != basic.ID {
			t.Errorf("%+v %v", updated, err)
		}
		empty := ""
		if updated, err = s.UpdateConnection(ctx, project, ConnectionInput{Name: "basic", Description: &empty}); err != nil || updated.Description != "" || updated.State != Authorized {
			t.Errorf("%+v %v", updated, err)
		}
		if updated, err = s.UpdateConnection(ctx, project, ConnectionInput{Name: "basic", Kind: APIKeyAuth, Auth: authOf(t, keyAuth)}); err != nil || updated.auth.Basic != nil || updated.auth.APIKey == nil {
			t.Errorf("%+v %v", updated, err)
		}
		none, err := s.DeauthorizeConnection(ctx, project, "basic")
		if err != nil || none.State != Deauthorized || shown(t, none) != "{}" {
			t.Errorf("%+v %v", none, err)
		}
		if _, err := s.UpdateConnection(ctx, project, ConnectionInput{Name: "basic", Auth: authOf(t, `{"ApiKeyAuthParameters": {"ApiKeyName": "X"}}`)}); hansom.KindOf(err) != hansom.Invalid {
			t.Error("it is authorized again with half of what it needs:", err)
		}
		if updated, err = s.UpdateConnection(ctx, project, ConnectionInput{Name: "basic", Auth: authOf(t, keyAuth)}); err != nil || updated.State != Authorized {
			t.Errorf("%+v %v", updated, err)
		}

		gone, err := s.DeleteConnection(ctx, project, "basic")
		if err != nil || gone.State != Deleting || gone.ARN != basic.ARN {
			t.Errorf("%+v %v", gone, err)
		}
		_, err = s.Connection(project, "basic")
		refusal(t, "describe", err, hansom.NotFound, "Failed to describe the connection(s). Connection 'basic' does not exist.")
		_, err = s.DeleteConnection(ctx, project, "basic")
		refusal(t, "delete", err, hansom.NotFound, "Failed to delete the connection(s). Connection 'basic' does not exist.")
		_, err = s.UpdateConnection(ctx, project, ConnectionInput{Name: "basic"})
		refusal(t, "update", err, hansom.NotFound, "Failed to update the connection(s). Connection 'basic' does not exist.")
		_, err = s.DeauthorizeConnection(ctx, project, "basic")
		refusal(t, "deauthorize", err, hansom.NotFound, "Failed to deauthorize the connection(s). Connection 'basic' does not exist.")
		_, err = s.CreateConnection(ctx, project, ConnectionInput{Name: "key", Kind: APIKeyAuth, Auth: authOf(t, keyAuth)})
		refusal(t, "create", err, hansom.Conflict, "Connection key already exists.")

		var log bytes.Buffer
		cfg := DefaultConfig()
		cfg.Key = bytes.Repeat([]byte("other"), 8)[:32]
		other, err := New(ctx, cfg, d, upstream.New(upstream.DefaultConfig()), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := other.Connection(project, "key"); err != nil || c.State != Deauthorized || c.Reason == "" || !strings.Contains(log.String(), "connection=key") {
			t.Errorf("%+v %v %s", c, err, log.String())
		}

		if err := d.Write(ctx, func(tx *db.Tx) error { return s.RemoveProject(ctx, tx, project) }); err != nil {
			t.Fatal(err)
		}
		if n, m := len(s.Connections(project, "", "")), len(s.Connections("111111111111", "", "")); n != 0 || m != 1 {
			t.Error(n, m)
		}
	})
}

func TestInvalidConnections(t *testing.T) {
	s := newService(t, dbtest.Open(t, dbtest.SQLite(t)), nil)
	const oauth = `"ClientParameters": {"ClientID": "id", "ClientSecret": "s"}, "HttpMethod": "POST", "AuthorizationEndpoint": `
	for _, c := range []struct{ kind, auth, message string }{
		{BasicAuth, `{}`, "AuthParameters are not valid: the authorization type BASIC needs BasicAuthParameters with Username and Password."},
		{APIKeyAuth, `{}`, "AuthParameters are not valid: the authorization type API_KEY needs ApiKeyAuthParameters with ApiKeyName and ApiKeyValue."},
		{OAuthAuth, `{}`, "AuthParameters are not valid: the authorization type OAUTH_CLIENT_CREDENTIALS needs OAuthParameters with ClientParameters, AuthorizationEndpoint and HttpMethod."},
		{BasicAuth, keyAuth, "AuthParameters are not valid: they have parameters of another authorization type than BASIC."},
		{APIKeyAuth, `{"ApiKeyAuthParameters": {"ApiKeyName": "Host", "ApiKeyValue": "k"}}`, "The header Host cannot be set."},
		{APIKeyAuth, `{"ApiKeyAuthParameters": {"ApiKeyName": "a b", "ApiKeyValue": "k"}}`, "The header a b cannot be set."},
		{APIKeyAuth, strings.Replace(keyAuth, `{`, `{"InvocationHttpParameters": {"HeaderParameters": [{"Key": "content-length", "Value": "1"}]}, `, 1), "The header content-length cannot be set."},
		{APIKeyAuth, strings.Replace(keyAuth, `{`, `{"InvocationHttpParameters": {"BodyParameters": [{"Value": "1"}]}, `, 1), "AuthParameters are not valid: a parameter has no Key."},
		{OAuthAuth, `{"OAuthParameters": {` + oauth + `"ftp://example.com"}}`, "AuthorizationEndpoint ftp://example.com is not valid: it must be a URL such as https://example.com/path."},
		{OAuthAuth, `{"OAuthParameters": {` + oauth + `"https://me:pw@example.com/"}}`, "AuthorizationEndpoint https://me:pw@example.com/ is not valid: it must be a URL such as https://example.com/path."},
	} {
		_, err := s.CreateConnection(t.Context(), project, ConnectionInput{Name: "c", Kind: c.kind, Auth: authOf(t, c.auth)})
		refusal(t, c.kind+" "+c.auth, err, hansom.Invalid, c.message)
	}
	if _, err := New(context.Background(), DefaultConfig(), nil, nil, nil); err == nil {
		t.Error("it opens without a key")
	}
}

func TestDestinations(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		s := newService(t, d, nil)
		c := connect(t, s, "c", APIKeyAuth, keyAuth)
		text := "it is so"
		made, err := s.CreateDestination(ctx, project, DestinationInput{Name: "d", Connection: c.ARN, URL: "https://example.com/*?q=*", Method: "POST", Description: &text})
		if err != nil || made.Rate != 300 || made.ARN != "arn:aws:events:us-east-1:000000000000:api-destination/d/"+made.ID || !s.Active(made) {
			t.Fatalf("%+v %v", made, err)
		}
		for _, s := range []*Service{s, newService(t, d, nil)} {
			got, err := s.Destination(project, "d")
			if diff := cmp.Diff(made, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		}
		updated, err := s.UpdateDestination(ctx, project, DestinationInput{Name: "d", Method: "PUT", Rate: 5})
		if err != nil || updated.Method != "PUT" || updated.Rate != 5 || updated.URL != made.URL || updated.Connection != c.ARN || updated.Description != text || updated.ID != made.ID || updated.Modified.Before(made.Modified) {
			t.Errorf("%+v %v", updated, err)
		}
		if n, m, o := len(s.Destinations(project, "d", "")), len(s.Destinations(project, "x", "")), len(s.Destinations(project, "", c.ARN)); n != 1 || m != 0 || o != 1 {
			t.Error(n, m, o)
		}
		if len(s.Destinations(project, "", c.ARN+"x"))+len(s.Destinations("111111111111", "", "")) != 0 {
			t.Error("destinations of others are listed")
		}

		in := DestinationInput{Name: "e", Connection: c.ARN, URL: "https://example.com/", Method: "POST"}
		for what, change := range map[string]func(in *DestinationInput){
			"no host":          func(in *DestinationInput) { in.URL = "https:///x" },
			"no scheme":        func(in *DestinationInput) { in.URL = "example.com" },
			"wildcard in host": func(in *DestinationInput) { in.URL = "https://*.example.com/" },
			"password":         func(in *DestinationInput) { in.URL = "https://a:b@example.com/" },
		} {
			bad := in
			change(&bad)
			_, err := s.CreateDestination(ctx, project, bad)
			refusal(t, what, err, hansom.Invalid, "InvocationEndpoint "+bad.URL+" is not valid: it must be a URL such as https://example.com/path.")
		}
		for _, arn := range []string{c.ARN + "x", strings.Replace(c.ARN, "000000000000", "111111111111", 1), made.ARN} {
			bad := in
			bad.Connection = arn
			_, err := s.CreateDestination(ctx, project, bad)
			refusal(t, arn, err, hansom.NotFound, "Connection '"+arn+"' does not exist.")
		}
		in.Name = "d"
		_, err = s.CreateDestination(ctx, project, in)
		refusal(t, "create", err, hansom.Conflict, "An api-destination 'd' already exists.")
		if _, err := s.DeleteConnection(ctx, project, "c"); err != nil || s.Active(made) {
			t.Error(err, "it is active without a connection")
		}
		connect(t, s, "c", APIKeyAuth, keyAuth) // another one under its name
		if s.Active(made) {
			t.Error("another connection of that name counts")
		}
		if err := s.DeleteDestination(ctx, project, "d"); err != nil {
			t.Error(err)
		}
		_, err = s.Destination(project, "d")
		refusal(t, "describe", err, hansom.NotFound, "Failed to describe the api-destination(s). An api-destination 'd' does not exist.")
		_, err = s.UpdateDestination(ctx, project, DestinationInput{Name: "d"})
		refusal(t, "update", err, hansom.NotFound, "Failed to update the api-destination(s). An api-destination 'd' does not exist.")
		refusal(t, "delete", s.DeleteDestination(ctx, project, "d"), hansom.NotFound, "Failed to delete the api-destination(s). An api-destination 'd' does not exist.")
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-7": 0, "7.5": 0, "soon": 0, "99999999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:04:00 GMT": 0, "Fri, 02 Jan 2099 03:04:00 GMT": 24 * time.Hour} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
