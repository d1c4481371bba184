// Package tagging holds tags of functions to AWS's limits.
package tagging

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// Limits of tags, as AWS has them; those of keys and values are in characters.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

var tagPattern = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// CheckCount refuses more tags than a function may have. Errors: Invalid.
func CheckCount(tags map[string]string) error {
	if len(tags) > maxTags {
		return hansom.Errorf(hansom.Invalid, "check tags", "Number of tags exceeds resource tag limit.")
	}
	return nil
}

// Check refuses tags that cannot be. Errors: Invalid.
func Check(tags map[string]string) error {
	const op = "check tags"
	for key, value := range tags {
		switch {
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return hansom.Errorf(hansom.Invalid, op, "aws: prefixed tag key names are not allowed for external use.")
		case key == "" || utf8.RuneCountInString(key) > maxTagKey || !tagPattern.MatchString(key):
			return hansom.Errorf(hansom.Invalid, op, "the tag key %.200q is not 1 to %d letters, digits, spaces or _.:/=+-@", key, maxTagKey)
		case utf8.RuneCountInString(value) > maxTagValue || !tagPattern.MatchString(value):
			return hansom.Errorf(hansom.Invalid, op, "the value of the tag %q is not at most %d letters, digits, spaces or _.:/=+-@", key, maxTagValue)
		}
	}
	return CheckCount(tags)
}
