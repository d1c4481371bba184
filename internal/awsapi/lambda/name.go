package lambda

import (
	"strings"

	"github.com/hansomcloud/hansom"
)

// name is what a FunctionName says: a bare name, a partial ARN (account:function:name and shorter) or a full ARN, each with or
// without a qualifier. Parts that were not given are "".
type name struct {
	region, account, function, qualifier string
}

// parseName splits a FunctionName. It accepts what the model's pattern of a NamespacedFunctionName accepts, and splits it the
// same way, without a regular expression: it runs on every invocation.
func parseName(s string) (n name, ok bool) {
	if isName(s) { // by far the most common form
		return name{function: s}, true
	}
	rest := s
	if after, is := strings.CutPrefix(s, "arn:"); is {
		partition, after, _ := strings.Cut(after, ":")
		after, is := strings.CutPrefix(after, "lambda:")
		if is && isPartition(partition) {
			rest = after
		}
	}
	optional := func(is func(string) bool) string {
		part, after, more := strings.Cut(rest, ":")
		next, _, _ := strings.Cut(after, ":")
		if !more || !is(part) || !isName(next) { // what follows must still hold a name
			return ""
		}
		rest = after
		return part
	}
	n.region = optional(isRegion)
	n.account = optional(isAccount)
	optional(func(s string) bool { return s == "function" })
	var qualified bool
	n.function, n.qualifier, qualified = strings.Cut(rest, ":")
	if !isName(n.function) || qualified && !isQualifier(n.qualifier) {
		return name{}, false
	}
	return n, true
}

// isName accepts [a-zA-Z0-9-_.]+.
func isName(s string) bool { return s != "" && isWord(s, ".") }

// isQualifier accepts $LATEST, $LATEST.PUBLISHED and [a-zA-Z0-9-_]+.
func isQualifier(s string) bool {
	return s == hansom.Latest || s == "$LATEST.PUBLISHED" || s != "" && isWord(s, "")
}

// isWord reports whether s has letters, digits, dashes, underscores and the bytes of also only.
func isWord(s, also string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || strings.IndexByte(also, c) >= 0) {
			return false
		}
	}
	return true
}

// isPartition accepts (aws[a-zA-Z-]*)?
func isPartition(s string) bool {
	after, ok := strings.CutPrefix(s, "aws")
	return s == "" || ok && !strings.ContainsAny(after, "_0123456789") && isWord(after, "")
}

// isAccount accepts \d{12}.
func isAccount(s string) bool { return len(s) == 12 && isDigits(s) }

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// isRegion accepts (eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d
func isRegion(s string) bool {
	s = strings.TrimPrefix(s, "eusc-")
	parts := strings.Split(s, "-")
	switch len(parts) {
	case 3:
	case 4:
		if p := parts[1]; p != "gov" && !(strings.HasPrefix(p, "iso") && len(p) <= 4 && isLower(p)) {
			return false
		}
	default:
		return false
	}
	last := len(parts) - 1
	return len(parts[0]) == 2 && isLower(parts[0]) && isLower(parts[last-1]) && len(parts[last]) == 1 && isDigits(parts[last])
}

func isLower(s string) bool { return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" }

// locate checks that the name is one of this project and region, and merges its qualifier with the one given beside it.
func (s *Service) locate(p hansom.Principal, action string, n name, qualifier string) (function, merged string, err error) {
	if n.region != "" && n.region != s.cfg.Region {
		return "", "", hansom.Errorf(hansom.NotFound, action, "Functions from '%s' are not reachable in this region ('%s')", n.region, s.cfg.Region)
	}
	if n.account != "" && n.account != p.Project {
		arn := hansom.FunctionARN(s.cfg.Region, n.account, n.function, n.qualifier)
		return "", "", hansom.Errorf(hansom.Denied, action,
			"User: %s is not authorized to perform: lambda:%s on resource: %s because no resource-based policy allows the lambda:%s action", p.ARN, action, arn, action)
	}
	if n.qualifier != "" && qualifier != "" && n.qualifier != qualifier {
		return "", "", hansom.Errorf(hansom.Invalid, action, "The derived qualifier from the function name does not match the specified qualifier.")
	}
	if qualifier == "" {
		qualifier = n.qualifier
	}
	return n.function, qualifier, nil
}
