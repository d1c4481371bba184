package dotenv

import (
	"maps"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"":                              {},
		"A=1\nB=two words \n\n# c\n":    {"A": "1", "B": "two words"},
		"export A=1 # why\r\nB=\r\n":    {"A": "1", "B": ""},
		"A=a#b\nB= # nothing\nC==":      {"A": "a#b", "B": "", "C": "="},
		`A='$x "y" \n' # c`:             {"A": `$x "y" \n`},
		`A="a\nb\t\"\\\$\x"`:            {"A": "a\nb\t\"\\$\\x"},
		"A=\"one\ntwo\"\nB='x\ny'\nC=1": {"A": "one\ntwo", "B": "x\ny", "C": "1"},
		"A=1\nA=2":                      {"A": "2"},
		"\ufeff A = 1":                  {"A": "1"},
		"URL=http://x/?a=b&c=d":         {"URL": "http://x/?a=b&c=d"},
	} {
		if got, err := Parse(text); err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"A=1\nnothing":       `line 2: "nothing" is not NAME=value`,
		"1A=x":               `line 1: "1A=x" is not NAME=value`,
		"A='x\n\nB='y'":      "line 3: after the quote of A comes \"y'\"",
		"\nA=\"x":            "line 2: the quote of A is not closed",
		"A='x":               "line 1: the quote of A is not closed",
		"A=\"1\n2\" 3\nB=\"": `line 2: after the quote of A comes "3"`,
		"A=\"1\n2\"\nB=\"":   "line 3: the quote of B is not closed",
	} {
		if got, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// FuzzParse: what Parse reads, Format writes so that Parse reads it again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"A=1", `A="a\nb"`, "A='x\ny' # c", "export A=$B", "A=\"\\\"", "A=\t\"\r\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(Format(got))
		if err != nil || !maps.Equal(got, again) {
			t.Errorf("%q: %q, then %q, %v", text, got, again, err)
		}
	})
}
