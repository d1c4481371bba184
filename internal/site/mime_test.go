package site

import (
	"os"
	"strings"
	"testing"
)

// TestFiles runs testdata/files.tsv: a path, its type, and whether its name has a digest of its content.
func TestFiles(t *testing.T) {
	text, err := os.ReadFile("testdata/files.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			t.Fatalf("%q", line)
		}
		if got := contentType(f[0]); got != f[1] {
			t.Errorf("%s is %s, want %s", f[0], got, f[1])
		}
		if got := hashed(f[0]); got != (f[2] == "hashed") {
			t.Errorf("%s: hashed %v", f[0], got)
		}
	}
}
