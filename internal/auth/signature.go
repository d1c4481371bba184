package auth

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeLayout = "20060102T150405Z"

	maxPresigned    = 7 * 24 * time.Hour
	presignedFuture = 5 * time.Minute
)

// signature is what a request says about its own signature. Its strings are parts of the request.
type signature struct {
	accessKey, date, region, service string
	signedHeaders                    string // lower case, separated by ";"
	mac                              [32]byte
	time                             time.Time
	stamp                            string // time as it stands in the string to sign
	token                            string // session token
	payload                          string // what the request declares as hash of its body; "" when it does not
	presigned                        bool
	expires                          time.Duration // of a presigned request
}

// scope is the credential scope.
func (g *signature) scope() string {
	return g.date + "/" + g.region + "/" + g.service + "/" + terminator
}

// Scope returns the service and region that r says it is signed for, without verifying anything. ok is false when r carries no
// signature of version 4.
func Scope(r *http.Request) (service, region string, ok bool) {
	var sig signature
	credential, found := "", false
	if h := r.Header["Authorization"]; len(h) > 0 {
		var rest string
		if rest, found = strings.CutPrefix(h[0], algorithm); found {
			credential = credentialOf(rest)
		}
	} else if strings.Contains(r.URL.RawQuery, "X-Amz-Algorithm=") {
		credential, found = r.URL.Query().Get("X-Amz-Credential"), true
	}
	if !found || !sig.splitCredential(credential) {
		return "", "", false
	}
	return sig.service, sig.region, true
}

// parse reads the signature from the Authorization header or from the query (Signature Version 4, "authentication methods").
func (g *signature) parse(r *http.Request) error {
	values := r.Header["Authorization"]
	switch {
	case len(values) > 1:
		return refusef(incomplete, "", "The request has %d Authorization headers; send one.", len(values))
	case len(values) == 1:
		return g.parseHeader(r, values[0])
	case strings.Contains(r.URL.RawQuery, "X-Amz-Algorithm=") || strings.Contains(r.URL.RawQuery, "X-Amz-Signature="):
		return g.parseQuery(r)
	}
	return refuse(missing, serviceGuess(r))
}

// serviceGuess names a service for a request without a scope, so that its error has the right shape.
func serviceGuess(r *http.Request) string {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return "sts"
	}
	return ""
}

func (g *signature) parseHeader(r *http.Request, value string) error {
	rest, ok := strings.CutPrefix(value, algorithm)
	if !ok || (rest != "" && rest[0] != ' ' && rest[0] != ',') {
		name, _, _ := strings.Cut(value, " ")
		return refusef(incomplete, "", "Unsupported algorithm or scheme %.40q in the Authorization header; sign with %s.", name, algorithm)
	}
	credential, headers, mac, bad := splitAuthorization(rest)
	// The service comes first: all further errors are worded for it.
	wellFormed := g.splitCredential(credential)
	if bad != "" {
		return refusef(incomplete, g.service, "%.80q not a valid key=value pair (missing equal-sign) in Authorization header.", bad)
	}
	g.signedHeaders = headers
	g.stamp = first(r.Header["X-Amz-Date"])
	if g.stamp == "" {
		if date := first(r.Header["Date"]); date != "" {
			t, err := http.ParseTime(date)
			if err != nil {
				t, err = time.Parse(timeLayout, date)
			}
			if err != nil {
				return refusef(incomplete, g.service, "Date must be in ISO-8601 'basic format'. Got %.80q. See http://en.wikipedia.org/wiki/ISO_8601", date)
			}
			g.stamp = t.UTC().Format(timeLayout)
		}
	}
	var lacks strings.Builder
	for _, part := range [...]struct{ name, value string }{{"Credential", credential}, {"Signature", mac}, {"SignedHeaders", headers}} {
		if part.value == "" {
			lacks.WriteString("Authorization header requires '" + part.name + "' parameter. ")
		}
	}
	if g.stamp == "" {
		lacks.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	if lacks.Len() > 0 {
		return refusef(incomplete, g.service, "%s", strings.TrimSpace(lacks.String()))
	}
	if !wellFormed {
		return refusef(incomplete, g.service, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%.200s'", credential)
	}
	g.token = first(r.Header["X-Amz-Security-Token"])
	g.payload = first(r.Header["X-Amz-Content-Sha256"])
	return g.finish(mac)
}

func (g *signature) parseQuery(r *http.Request) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refusef(incomplete, "s3", "The query of the presigned URL is malformed: %v", err)
	}
	g.presigned = true
	credential, mac := q.Get("X-Amz-Credential"), q.Get("X-Amz-Signature")
	wellFormed := g.splitCredential(credential)
	g.signedHeaders, g.stamp, g.token = q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Date"), q.Get("X-Amz-Security-Token")
	if q.Get("X-Amz-Algorithm") != algorithm || mac == "" || credential == "" || g.stamp == "" || g.signedHeaders == "" {
		return g.queryError("Query-string authentication version 4 requires the X-Amz-Algorithm (%s), X-Amz-Credential, X-Amz-Signature, X-Amz-Date and X-Amz-SignedHeaders parameters.", algorithm)
	}
	if !wellFormed {
		return g.queryError("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%.200s'", credential)
	}
	g.payload = q.Get("X-Amz-Content-Sha256")
	if g.payload == "" {
		g.payload = first(r.Header["X-Amz-Content-Sha256"])
	}
	switch text := q.Get("X-Amz-Expires"); {
	case text == "" && g.service == "s3":
		return g.queryError("Query-string authentication version 4 requires the X-Amz-Expires parameter.")
	case text == "":
		g.expires = 15 * time.Minute // as long as a signed header is good for
	default:
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 0 {
			return g.queryError("X-Amz-Expires should be a number of seconds, not negative")
		}
		if seconds > int64(maxPresigned/time.Second) {
			return g.queryError("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
		}
		g.expires = time.Duration(seconds) * time.Second
	}
	if g.service == "s3" && g.payload == "" {
		g.payload = unsignedPayload
	}
	return g.finish(mac)
}

func (g *signature) queryError(format string, args ...any) error {
	e := refusef(incomplete, g.service, format, args...)
	if e.Kind == hansom.Invalid && g.service == "s3" {
		e.Code = "AuthorizationQueryParametersError"
	}
	return e
}

// finish checks what both forms have in common.
func (g *signature) finish(mac string) error {
	t, ok := parseStamp(g.stamp)
	if !ok {
		return refusef(incomplete, g.service, "Date must be in ISO-8601 'basic format'. Got '%.40s'. See http://en.wikipedia.org/wiki/ISO_8601", g.stamp)
	}
	g.time = t
	if g.date != g.stamp[:8] {
		why := untimely
		if g.service == "s3" {
			why = incomplete
		}
		return refusef(why, g.service, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%.20s' != '%s', from '%s'.", g.date, g.stamp[:8], g.stamp)
	}
	// Not 64 hex digits cannot be the signature; it is answered like any other wrong one.
	if len(mac) != 2*len(g.mac) {
		return refuse(mismatch, g.service)
	}
	var text [64]byte
	copy(text[:], mac)
	if _, err := hex.Decode(g.mac[:], text[:]); err != nil {
		return refuse(mismatch, g.service)
	}
	if !lists(g.signedHeaders, "host") {
		e := refuse(mismatch, g.service)
		e.Message = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
		return e
	}
	return nil
}

// current checks that the signature was made about now.
func (g *signature) current(now time.Time, skew time.Duration) error {
	if g.presigned {
		if end := g.time.Add(g.expires); now.After(end) {
			if g.service == "s3" {
				return &hansom.Error{Kind: hansom.Unauthenticated, Op: "authenticate", Code: "AccessDenied", Message: "Request has expired"}
			}
			return refusef(untimely, g.service, "Signature expired: %s is now earlier than %s", end.UTC().Format(timeLayout), now.UTC().Format(timeLayout))
		}
		if g.service == "s3" && g.time.After(now.Add(presignedFuture)) {
			return &hansom.Error{Kind: hansom.Unauthenticated, Op: "authenticate", Code: "AccessDenied", Message: "Request is not valid yet"}
		}
		skew = presignedFuture
	} else if oldest := now.Add(-skew); g.time.Before(oldest) {
		return refusef(untimely, g.service, "Signature expired: %s is now earlier than %s (%s - %d min.)",
			g.stamp, oldest.UTC().Format(timeLayout), now.UTC().Format(timeLayout), int(skew.Minutes()))
	}
	if newest := now.Add(skew); g.time.After(newest) {
		return refusef(untimely, g.service, "Signature not yet current: %s is still later than %s (%s + %d min.)",
			g.stamp, newest.UTC().Format(timeLayout), now.UTC().Format(timeLayout), int(skew.Minutes()))
	}
	return nil
}

// splitCredential splits keyid/date/region/service/aws4_request from its end: an access key may not hold "/", but a
// malformed one should not shift the service.
func (g *signature) splitCredential(s string) bool {
	rest, ok := strings.CutSuffix(s, "/"+terminator)
	if !ok {
		return false
	}
	for _, part := range [...]*string{&g.service, &g.region, &g.date} {
		i := strings.LastIndexByte(rest, '/')
		if i < 0 {
			return false
		}
		*part, rest = rest[i+1:], rest[:i]
	}
	g.accessKey = rest
	return rest != "" && !strings.Contains(rest, "/") && g.date != "" && g.service != ""
}

// credentialOf is the credential alone, of which most clients write the one there is first.
func credentialOf(s string) string {
	first, rest, _ := strings.Cut(s, ",")
	if c, ok := strings.CutPrefix(strings.Trim(first, " \t"), "Credential="); ok && !strings.Contains(rest, "Credential=") {
		return c
	}
	c, _, _, _ := splitAuthorization(s)
	return c
}

// splitAuthorization reads "Credential=..., SignedHeaders=..., Signature=..." in any order; bad is the first part without "=".
func splitAuthorization(s string) (credential, headers, mac, bad string) {
	for s != "" {
		var part string
		part, s, _ = strings.Cut(s, ",")
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok && bad == "" {
			bad = part
		}
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			headers = value
		case "Signature":
			mac = value
		}
	}
	return credential, headers, mac, bad
}

// parseStamp reads "20060102T150405Z"; time.Parse takes four times as long.
func parseStamp(s string) (time.Time, bool) {
	if len(s) != len(timeLayout) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	ok := true
	number := func(from, to int) int {
		n := 0
		for _, c := range []byte(s[from:to]) {
			if c < '0' || c > '9' {
				ok = false
			}
			n = 10*n + int(c-'0')
		}
		return n
	}
	year, month, day := number(0, 4), number(4, 6), number(6, 8)
	hour, minute, second := number(9, 11), number(11, 13), number(13, 15)
	if !ok || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	return t, t.Day() == day
}

// lists tells whether a ";"-separated list holds name.
func lists(list, name string) bool {
	for list != "" {
		var part string
		if part, list, _ = strings.Cut(list, ";"); part == name {
			return true
		}
	}
	return false
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
