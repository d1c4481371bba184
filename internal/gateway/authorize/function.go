package authorize

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/policy"
)

const (
	opFunction = "call authorizer"
	maxAnswer  = 8 << 10 // bytes, as API Gateway has it
	invokeAPI  = "execute-api:Invoke"
)

// question is what an answer is kept for: the identity, and the settings of the authorizer that was asked.
type question struct {
	api, stage string
	id         [sha256.Size]byte
}

// answer is what a Lambda authorizer has said. It is never changed.
type answer struct {
	allowed   bool             // of a simple answer
	policy    *policy.Document // of another
	principal string
	usage     string // usageIdentifierKey
	context   map[string]json.RawMessage
	v1, v2    []byte // for requestContext.authorizer
	until     time.Time
}

// function takes requests that a Lambda authorizer lets through.
func (s *Service) function(ctx context.Context, q *Query, a *api.Authorizer) Decision {
	identity := make([]string, len(a.Sources))
	for i, source := range a.Sources {
		value, ok := q.selected(source)
		if !ok {
			return refused(http.StatusUnauthorized, "the request has no "+source)
		}
		identity[i] = value
	}
	kept := a.TTL > 0 && len(identity) > 0
	asked := question{api: q.API.ID, stage: q.Stage.Name}
	now := s.cfg.Now()
	if kept {
		asked.id = identify(a, identity)
		if known, ok := s.answers.Get(asked); ok && now.Before(known.until) {
			return s.decide(q, known)
		}
	}
	detach(ctx)
	resets := s.resets.Load()
	got, err := s.ask(ctx, q, a, identity)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("a Lambda authorizer failed", "api", q.API.ID, "authorizer", a.Name, "request", q.ID, "error", err)
		}
		return refused(http.StatusInternalServerError, err.Error())
	}
	if kept {
		got.until = now.Add(time.Duration(a.TTL) * time.Second)
		asked.api, asked.stage = strings.Clone(asked.api), strings.Clone(asked.stage)
		s.answers.Put(asked, got)
		if s.resets.Load() != resets { // what was asked before a reset is not kept after it
			s.answers.DeleteFunc(func(other question, _ *answer) bool { return other == asked })
		}
	}
	return s.decide(q, got)
}

// identify is the digest of an identity and of the settings that the answer depends on.
func identify(a *api.Authorizer, identity []string) [sha256.Size]byte {
	var b []byte
	for _, text := range append([]string{a.ID, a.URI, a.Payload, strconv.FormatBool(a.Simple), strings.Join(a.Sources, ",")}, identity...) {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return sha256.Sum256(b)
}

// ask calls the function of an authorizer.
func (s *Service) ask(ctx context.Context, q *Query, a *api.Authorizer, identity []string) (*answer, error) {
	project, name, qualifier, ok := api.FunctionOf(a.URI)
	if !ok || project != q.API.Project {
		return nil, hansom.Errorf(hansom.Invalid, opFunction, "%s is no function of the API's project", a.URI)
	}
	event, err := q.Event(a.Payload, identity)
	if err != nil {
		return nil, hansom.Errorf(hansom.KindOf(err), opFunction, "no event can be made of the request: %w", err)
	}
	// The call is none of the request's own: nothing that its context carries is for it, but its end.
	call, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	inv := hansom.Invocation{Project: project, Function: name, Qualifier: qualifier, Payload: event, Source: "authorizer"}
	result, err := s.deps.Invoker.Invoke(call, &inv, nil)
	if err != nil {
		return nil, hansom.Errorf(hansom.KindOf(err), opFunction, "the function %s cannot be called: %w", name, err)
	}
	defer result.Release()
	if result.FunctionError != "" {
		return nil, hansom.Errorf(hansom.Invalid, opFunction, "the function %s failed: %.500s", name, result.Payload)
	}
	return parseAnswer(result.Payload, a)
}

// parseAnswer reads what a function has answered: {"isAuthorized":...,"context":...} with simple answers, else {"principalId":...,
// "policyDocument":...,"context":...}.
func parseAnswer(text []byte, a *api.Authorizer) (*answer, error) {
	bad := func(format string, args ...any) error {
		return hansom.Errorf(hansom.Invalid, opFunction, "the function's answer "+format, args...)
	}
	if len(text) > maxAnswer {
		return nil, bad("has %d bytes; the limit is %d", len(text), maxAnswer)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil || members == nil {
		return nil, bad("is no object")
	}
	got := &answer{}
	if raw, ok := members["context"]; ok {
		if err := json.Unmarshal(raw, &got.context); err != nil {
			return nil, bad("has a context that is no object")
		}
	}
	if a.Simple && a.Payload != "1.0" {
		switch string(members["isAuthorized"]) {
		case "true":
			got.allowed = true
		case "false":
		default:
			return nil, bad("has no isAuthorized that is true or false")
		}
	} else {
		document, ok := members["policyDocument"]
		if !ok {
			return nil, bad("has no policyDocument")
		}
		var err error
		if got.policy, err = policy.Parse(document); err != nil {
			return nil, bad("has a policyDocument that cannot be used: %w", err)
		}
		for name, to := range map[string]*string{"principalId": &got.principal, "usageIdentifierKey": &got.usage} {
			raw, ok := members[name]
			if !ok {
				continue
			}
			if err := json.Unmarshal(raw, to); err != nil {
				return nil, bad("has a %s that is no text", name)
			}
		}
	}
	return got, got.write()
}

// write makes what functions get to see of the answer.
func (got *answer) write() error {
	flat := map[string]any{}
	for name, raw := range got.context {
		flat[name] = raw
	}
	if got.policy != nil {
		flat["principalId"] = got.principal
	}
	var err error
	if got.v1, err = encode(flat); err != nil {
		return err
	}
	got.v2, err = encode(map[string]any{"lambda": got.context})
	return err
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, hansom.Errorf(hansom.Invalid, opFunction, "%w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decide says what an answer means for a request.
func (s *Service) decide(q *Query, got *answer) Decision {
	allowed := got.allowed
	reason := "the authorizer does not let the request through"
	if got.policy != nil {
		effect := got.policy.Evaluate(invokeAPI, RouteARN(s.cfg.Region, q), s.condition(q))
		allowed = effect == policy.Allow
		if effect == policy.Deny {
			reason = "the authorizer's policy denies the request"
		}
	}
	if !allowed {
		return refused(http.StatusForbidden, reason)
	}
	return Decision{Context: got.v2, ContextV1: got.v1, Value: got.value}
}

// value is $context.authorizer.<name>.
func (got *answer) value(name string) string {
	switch name {
	case "principalId":
		return got.principal
	case "usageIdentifierKey":
		return got.usage
	}
	raw := got.context[name]
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// RouteARN is what the policy of a Lambda authorizer is evaluated against, and what its event has as routeArn or methodArn.
func RouteARN(region string, q *Query) string {
	return "arn:aws:execute-api:" + region + ":" + q.API.Project + ":" + q.API.ID + "/" + q.Stage.Name + "/" + q.Request.Method + q.Path
}

// condition returns what a request has under the condition keys that all services know.
func (s *Service) condition(q *Query) func(key string) (string, bool) {
	return func(key string) (string, bool) {
		switch key {
		case "aws:sourceip":
			return q.Source, q.Source != ""
		case "aws:useragent":
			return q.Request.UserAgent(), q.Request.UserAgent() != ""
		case "aws:referer":
			return q.Request.Referer(), q.Request.Referer() != ""
		case "aws:securetransport":
			return strconv.FormatBool(q.Request.TLS != nil), true
		case "aws:currenttime":
			return s.cfg.Now().UTC().Format(time.RFC3339), true
		case "aws:epochtime":
			return strconv.FormatInt(s.cfg.Now().Unix(), 10), true
		}
		return "", false
	}
}
