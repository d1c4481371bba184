// Package dotenv reads and writes files of environment variables, a NAME=value a line, as shells and many tools read them.
package dotenv

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// name of a variable in a shell (POSIX.1-2024, section 3.210).
var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// plain values need no quotes.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

// Parse reads a file. Empty lines and those that begin with # are left out, as is "export " before a name. A value in single
// quotes is taken as it is; in double quotes \n, \r, \t, \", \\ and \$ are escapes. Both may span lines. Without quotes a value
// ends at the end of the line or at " #". The last of several values of a name counts. Errors name the line.
func Parse(text string) (map[string]string, error) {
	out := map[string]string{}
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\ufeff")
	for line := 1; text != ""; {
		rest, after, _ := strings.Cut(text, "\n")
		if trimmed := strings.TrimSpace(rest); trimmed == "" || trimmed[0] == '#' {
			text, line = after, line+1
			continue
		}
		key, _, ok := strings.Cut(rest, "=")
		key = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(key), "export "))
		if !ok || !name.MatchString(key) {
			return nil, fmt.Errorf("line %d: %.40q is not NAME=value", line, strings.TrimSpace(rest))
		}
		value := strings.TrimLeft(text[strings.IndexByte(text, '=')+1:], " \t")
		var quoted int // bytes of the quoted value with its quotes
		switch {
		case strings.HasPrefix(value, "'"):
			end := strings.IndexByte(value[1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("line %d: the quote of %s is not closed", line, key)
			}
			out[key], quoted = value[1:end+1], end+2
		case strings.HasPrefix(value, `"`):
			out[key], quoted = unescape(value)
			if quoted == 0 {
				return nil, fmt.Errorf("line %d: the quote of %s is not closed", line, key)
			}
		default:
			rest, _, _ = strings.Cut(value, "\n")
			if i := strings.Index(" "+rest, " #"); i >= 0 {
				rest = rest[:max(0, i-1)]
			}
			out[key] = strings.TrimSpace(rest)
			text, line = after, line+1
			continue
		}
		line += strings.Count(value[:quoted], "\n") + 1
		rest, text, _ = strings.Cut(value[quoted:], "\n")
		if rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#' {
			return nil, fmt.Errorf("line %d: after the quote of %s comes %.40q", line-1, key, rest)
		}
	}
	return out, nil
}

// unescape reads a value in double quotes at the beginning of s and returns how long it is there; 0 when it is not closed.
func unescape(s string) (value string, length int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), i + 1
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`nrt"\$`, s[i+1]) >= 0:
			i++
			b.WriteByte(strings.NewReplacer("n", "\n", "r", "\r", "t", "\t").Replace(s[i : i+1])[0])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", 0
}

// Format writes variables by name, so that Parse reads them again.
func Format(variables map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(variables)) {
		value := variables[key]
		switch {
		case plain.MatchString(value):
		case !strings.ContainsAny(value, "'\r\n"):
			value = "'" + value + "'"
		default:
			value = `"` + strings.NewReplacer("\\", `\\`, `"`, `\"`, "$", `\$`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(value) + `"`
		}
		b.WriteString(key + "=" + value + "\n")
	}
	return b.String()
}
