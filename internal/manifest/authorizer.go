package manifest

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Keys of an authorizer and of its jwt.
var (
	authorizerKeys = []string{"jwt", "function", "iam", "identity", "ttl", "simple"}
	jwtKeys        = []string{"issuer", "audience", "keys"}
)

// defaultIdentity is where callers say who they are.
const defaultIdentity = "$request.header.Authorization"

const (
	maxAuthorizers = 10 // as API Gateway's
	maxIdentity    = 10
	maxAudience    = 50
	maxTTL         = time.Hour
	maxDomains     = 100
	maxOpenAPI     = 384 << 10 // bytes
)

var (
	authorizerPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)
	identityPattern   = regexp.MustCompile(`^\$(request\.(header|querystring)\.[!-+.-~-]{1,128}|context\.[A-Za-z0-9_.]{1,128})$`)
	domainPattern     = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// ResolvedAuthorizer says who may call the routes that name it. One of JWT, Function and IAM is set.
type ResolvedAuthorizer struct {
	JWT      *ResolvedJWT `json:"jwt,omitempty"`
	Function string       `json:"function,omitempty"` // key of the function that is asked
	IAM      bool         `json:"iam,omitempty"`      // requests are signed, as those to AWS
	Identity []string     `json:"identity,omitempty"` // where callers say who they are, as API Gateway's identity sources
	TTL      int          `json:"ttl,omitempty"`      // seconds that a function's answer is used again
	Policy   bool         `json:"policy,omitempty"`   // the function answers with a policy, not with isAuthorized
}

// ResolvedJWT says which tokens are good.
type ResolvedJWT struct {
	Issuer   string   `json:"issuer"`
	Audience []string `json:"audience"`
	Keys     string   `json:"keys,omitempty"` // URL of the issuer's keys, or a path of the app; "" asks the issuer where they are
}

func checkURL(what, s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" || len(s) > 2048 {
		return fmt.Errorf("%s %.200q must be a URL with http or https", what, s)
	}
	return nil
}

// check says what is wrong with an authorizer. function says which there are.
func (a *ResolvedAuthorizer) check(function func(key string) bool) error {
	kinds := 0
	for _, set := range []bool{a.JWT != nil, a.Function != "", a.IAM} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return errors.New("an authorizer has one of jwt, function and iam")
	case len(a.Identity) > maxIdentity:
		return fmt.Errorf("identity has %d entries; the limit is %d", len(a.Identity), maxIdentity)
	case a.IAM && len(a.Identity) > 0:
		return errors.New("identity does not go with iam: the signature says who calls")
	case a.JWT != nil && len(a.Identity) > 1:
		return errors.New("a token is in one place: identity of an authorizer with jwt has one entry")
	case a.Function == "" && (a.TTL != 0 || a.Policy):
		return errors.New("ttl and simple are for authorizers with function")
	case a.TTL > 0 && len(a.Identity) == 0:
		return errors.New("ttl needs identity, by which answers are kept")
	case a.Function != "" && !function(a.Function):
		return fmt.Errorf("function %.80q is no function of the app", a.Function)
	}
	for _, s := range a.Identity {
		if !identityPattern.MatchString(s) || a.JWT != nil && !strings.HasPrefix(s, "$request.") {
			return fmt.Errorf("identity %.200q must be such as %s or $request.querystring.token", s, defaultIdentity)
		}
	}
	if a.JWT != nil {
		return a.JWT.check()
	}
	return checkSpan("ttl", seconds(a.TTL), 0, maxTTL)
}

func (j *ResolvedJWT) check() error {
	if err := checkURL("issuer", j.Issuer); err != nil {
		return err
	}
	if len(j.Audience) == 0 || len(j.Audience) > maxAudience || slices.Contains(j.Audience, "") {
		return fmt.Errorf("audience must be a list of 1 to %d texts: whom the tokens are for, such as [guestbook]", maxAudience)
	}
	switch {
	case j.Keys == "":
		return nil
	case strings.HasPrefix(j.Keys, "/"):
		return checkURL("keys", "http://app"+j.Keys)
	}
	return checkURL("keys", j.Keys)
}

func checkAuthorizers(n int) error {
	if n > maxAuthorizers {
		return fmt.Errorf("authorizers has %d entries; the limit is %d", n, maxAuthorizers)
	}
	return nil
}

func checkAuthorizerName(s string) error {
	if !authorizerPattern.MatchString(s) {
		return fmt.Errorf("the authorizer's name %.80q must be 1 to 64 letters, digits, hyphens and underscores, and begin with a letter", s)
	}
	return nil
}

func unknownAuthorizer(name string, authorizers map[string]ResolvedAuthorizer) error {
	if near := nearest(name, slices.Sorted(maps.Keys(authorizers)), 3); near != "" {
		return fmt.Errorf("authorizer %.80q is not in authorizers; did you mean %s?", name, near)
	}
	return fmt.Errorf("authorizer %.80q is not in authorizers; list it there", name)
}

// listAuthorizers reads authorizers, all but whether their functions are there.
func (p *reader) listAuthorizers(m *Manifest, e entry) {
	entries, ok := p.mapping(e.value, "authorizers", nil, nil)
	if !ok {
		return
	}
	p.writtenAuthorizers = entries
	m.Authorizers = map[string]ResolvedAuthorizer{}
	for _, e := range entries {
		if !p.check(e.key, checkAuthorizerName(e.name)) {
			continue
		}
		if a, ok := p.authorizer(e); ok {
			m.Authorizers[e.name] = a
		}
	}
	p.check(e.key, checkAuthorizers(len(entries)))
	p.authorizers = m.Authorizers
}

func (p *reader) authorizer(e entry) (ResolvedAuthorizer, bool) {
	a := ResolvedAuthorizer{}
	before := len(p.errs)
	entries, ok := p.mapping(e.value, "authorizers."+e.name, authorizerKeys, nil)
	if !ok {
		return a, false
	}
	var function ast.Node
	for _, e := range entries {
		switch e.name {
		case "jwt":
			a.JWT = p.jwt(e)
		case "function":
			a.Function, _ = p.text(e)
			function = e.value
		case "iam":
			a.IAM = p.boolean(e)
		case "identity":
			a.Identity = p.texts(e, "["+defaultIdentity+"]")
		case "ttl":
			a.TTL = p.span(e, 0, maxTTL)
		case "simple":
			a.Policy = !p.boolean(e)
		}
	}
	if !has(entries, "identity") && !a.IAM {
		a.Identity = []string{defaultIdentity}
	}
	if len(p.errs) > before || !p.check(e.key, a.check(func(string) bool { return true })) {
		return a, false
	}
	if function != nil {
		p.asked = append(p.asked, askedFunction{a.Function, function})
	}
	return a, true
}

// askedFunction of an authorizer is to be looked at when all functions are known.
type askedFunction struct {
	key  string
	node ast.Node
}

func (p *reader) checkAsked() {
	for _, a := range p.asked {
		if !has(p.listed, a.key) {
			p.fail(a.node, "function %.80q is no function of the app", a.key)
		}
	}
}

func (p *reader) jwt(e entry) *ResolvedJWT {
	before := len(p.errs)
	entries, ok := p.mapping(e.value, "jwt", jwtKeys, nil)
	if !ok {
		return nil
	}
	j := &ResolvedJWT{}
	for _, e := range entries {
		switch e.name {
		case "issuer":
			j.Issuer, _ = p.text(e)
		case "audience":
			j.Audience = p.texts(e, "[guestbook]")
		case "keys":
			j.Keys, _ = p.text(e)
		}
	}
	for _, name := range []string{"issuer", "audience"} {
		if !has(entries, name) && len(p.errs) == before {
			p.fail(e.key, "jwt has no %s", name)
		}
	}
	return j
}

func checkDomain(s string) error {
	if len(s) > 253 || !domainPattern.MatchString(s) {
		return fmt.Errorf("domain %.200q must be a host name in lower case, such as example.com or *.example.com", s)
	}
	return nil
}

// checkDomains checks what no single domain shows.
func checkDomains(list []string) error {
	if len(list) > maxDomains {
		return fmt.Errorf("domains has %d entries; the limit is %d", len(list), maxDomains)
	}
	for i, s := range list {
		if err := checkDomain(s); err != nil {
			return err
		}
		if slices.Contains(list[:i], s) {
			return fmt.Errorf("domains has %s twice", s)
		}
	}
	return nil
}

func (p *reader) domains(e entry) (list []string) {
	seq, ok := e.value.(*ast.SequenceNode)
	if !ok {
		p.fail(e.value, "domains is a list, such as [example.com]")
		return nil
	}
	for _, n := range seq.Values {
		s, ok := p.text(entry{name: "domains", key: n, value: n})
		if ok && p.check(n, checkDomain(s)) {
			list = append(list, s)
		}
	}
	if len(list) == len(seq.Values) {
		p.check(e.key, checkDomains(list))
	}
	return list
}

// ResolvedOpenAPI is an OpenAPI document whose operations are routes of the app.
type ResolvedOpenAPI struct {
	File     string `json:"file"` // its name, for faults
	Document string `json:"document"`
}

func (o *ResolvedOpenAPI) check() error {
	switch {
	case o.File == "" || len(o.File) > 512:
		return errors.New("openapi: the file has no name")
	case strings.TrimSpace(o.Document) == "":
		return fmt.Errorf("openapi: %.200s is empty", o.File)
	case len(o.Document) > maxOpenAPI:
		return fmt.Errorf("openapi: %.200s has %d bytes; the limit is %d", o.File, len(o.Document), maxOpenAPI)
	}
	return nil
}

// openAPI reads the document.
func (p *reader) openAPI(e entry) *ResolvedOpenAPI {
	s, ok := p.text(e)
	switch {
	case !ok:
		return nil
	case s == "" || path.IsAbs(s) || strings.Contains(s, `\`):
		p.fail(e.value, "openapi %.200q must be a file, relative to the manifest, with forward slashes", s)
		return nil
	}
	if p.dir == "" {
		p.fail(e.value, "openapi is a file beside the manifest, and this one is in no folder")
		return nil
	}
	o := &ResolvedOpenAPI{File: path.Clean(s)}
	file := filepath.Join(p.dir, filepath.FromSlash(s))
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxOpenAPI {
		p.fail(e.value, "openapi: %.200s has %d bytes; the limit is %d", o.File, info.Size(), maxOpenAPI)
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		p.fail(e.value, "there is no file %.200s beside the manifest; set openapi to an OpenAPI document", s)
		return nil
	}
	o.Document = string(data)
	p.check(e.value, o.check())
	return o
}
