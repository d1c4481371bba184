package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

const (
	plainAPI   = "HTTP API"
	guardedAPI = "HTTP API, JWT authorizer and throttling"
	maxCost    = 1.15 // of an authorizer and throttling, to a call without
)

// guardedHTTP measures what a JWT authorizer and throttling cost: two APIs on one server, with one function.
func (b *bench) guardedHTTP(ctx context.Context) error {
	issuer, err := startIssuer()
	if err != nil {
		return err
	}
	defer issuer.stop()
	hansom, err := b.server()
	if err != nil {
		return err
	}
	defer func() { hansom.Stop() }()
	manifest := "name: guarded\nfunctions:\n  hello:\n    runtime: nodejs22.x\n    code: .\n    handler: app.handler\n    memory: 256\n"
	if err := hansom.Deploy(ctx, filepath.Join(b.dir, "guarded"), "", map[string]string{"app.js": rig.NodeHello, "hansom.yaml": manifest}); err != nil {
		return err
	}
	plain := rig.HTTPAPI{Name: "plain", Route: "GET /hello", Function: "guarded-hello"}
	guarded := plain
	// A limit that is never reached: what is measured is that it is looked at.
	guarded.Name, guarded.Issuer, guarded.Audience, guarded.Scope, guarded.Limit = "guarded", issuer.url, "bench", "hello", 1_000_000
	var sides []*side
	for _, a := range []struct {
		name string
		api  rig.HTTPAPI
	}{{plainAPI, plain}, {guardedAPI, guarded}} {
		host, err := hansom.CreateAPI(ctx, a.api)
		if err != nil {
			return err
		}
		request := rig.Get(host, "/hello")
		request = append(request[:len(request)-len("\r\n")], "Authorization: Bearer "+issuer.token+"\r\n\r\n"...)
		sides = append(sides, &side{Process: hansom.Process, name: a.name, request: request, samples: map[string][]load.Sample{}})
	}
	b.report.section("An HTTP API with a JWT authorizer and throttling")
	b.report.printf("The same function behind two APIs of one server: one without anything, one with a JWT authorizer (ES256, one scope asked for) and a throttle of its stage. The client sends the same token with every request to both.\n")
	for _, conns := range []int{8, 1} {
		kind := fmt.Sprint(conns)
		if err := b.interleave(ctx, kind, sides, func(s *side) (load.Sample, error) {
			return load.Closed(s.Addr, s.request, conns, b.length, s.Pids)
		}); err != nil {
			return err
		}
		b.report.printf("\n%d connections:\n\n", conns)
		b.report.warmTable(kind, sides)
	}
	without, with := sides[0], sides[1]
	b.report.target("P1", "time for a request with 8 connections, with a JWT authorizer and throttling, to without", without.median("8", rate)/with.median("8", rate), maxCost, atMost)
	b.report.target("P2", "p50 with 1 connection, with a JWT authorizer and throttling, to without", with.median("1", percentile(50))/without.median("1", percentile(50)), maxCost, atMost)
	return nil
}

// tokenIssuer publishes a key on loopback, and has made a token with it.
type tokenIssuer struct {
	url, token string
	stop       func()
}

func startIssuer() (*tokenIssuer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &tokenIssuer{url: "http://" + l.Addr().String()}
	documents := map[string]any{
		"/.well-known/openid-configuration": map[string]any{"issuer": i.url, "jwks_uri": i.url + "/keys"},
		"/keys":                             jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "bench", Use: "sig"}}},
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, ok := documents[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(document)
	})}
	go func() { _ = server.Serve(l) }()
	i.stop = func() { _ = server.Close() }
	i.token, err = sign(private, map[string]any{"iss": i.url, "aud": "bench", "sub": "user", "scope": "hello other", "exp": time.Now().Add(12 * time.Hour).Unix()})
	if err != nil {
		i.stop()
		return nil, err
	}
	return i, nil
}

func sign(private *ecdsa.PrivateKey, claims map[string]any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "bench"))
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}
