package hansom

import (
	"strings"
	"unicode"
)

// maxSubject is the most bytes that a subject may have.
const maxSubject = 255

// SubjectARN names a subject of NATS in the account of a project.
func SubjectARN(region, project, subject string) string {
	return ARN{"aws", "nats", region, project, subject}.String()
}

// CheckSubject refuses what is no subject of NATS that can be subscribed to: tokens with dots between, "*" for any one, ">" at the end for
// any rest. Those that begin with "$" or "_" are NATS's own. Error: Invalid.
func CheckSubject(s string) error {
	bad := func(format string, args ...any) error {
		return Errorf(Invalid, "check subject", format, args...)
	}
	if s == "" || len(s) > maxSubject {
		return bad("a subject has 1 to %d bytes", maxSubject)
	}
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return bad("the subject %q has an empty token; write it as orders.new", s)
		case strings.ContainsFunc(t, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
			return bad("the subject %q has spaces or control characters", s)
		case t == ">" && i < len(tokens)-1:
			return bad(`the subject %q has ">" before its end`, s)
		case len(t) > 1 && strings.ContainsAny(t, "*>"):
			return bad(`the subject %q has "*" or ">" within a token`, s)
		}
	}
	if s[0] == '$' || s[0] == '_' {
		return bad("the subject %q begins as NATS's own do", s)
	}
	return nil
}
