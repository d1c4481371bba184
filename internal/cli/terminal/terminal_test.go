package terminal

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// on is a Writer to a terminal of so many columns.
func on(out *strings.Builder, columns int, colour bool) *Writer {
	return &Writer{w: out, terminal: true, moves: true, colour: colour, width: func() int { return columns }}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	New(&out, nil).Table([]string{"NAME", "WHAT"}, [][]string{{"é", "x"}, {"  a line of its own"}, {"longer", ""}, {"evil\x1b[2J\n", "y"}})
	want := "NAME       WHAT\né          x\n  a line of its own\nlonger\nevil\uFFFD[2J\uFFFD  y\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// On a terminal the last column is broken into lines, so are the widest others, whose words are cut when that is not enough, addresses never,
// and words of ACTION, STATE and STATUS have colours.
func TestTableOnTerminal(t *testing.T) {
	header := []string{"NAME", "STATE", "WHERE", "DETAILS"}
	row := func() [][]string {
		return [][]string{{"a-long-name-of-a-function", "Active", "http://h.localhost/", "code 1 -> 2, memory 128 -> 256"}, {"b", "x", "", ""}}
	}
	var out strings.Builder
	on(&out, 70, false).Table(header, row())
	want := "NAME             STATE   WHERE                DETAILS\n" +
		"a-long-name-of…  Active  http://h.localhost/  code 1 -> 2, memory 128\n" +
		"                                              -> 256\n" +
		"b                x\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	on(&out, 40, false).Table([]string{"QUEUE", "DEAD LETTERS", "CONSUMERS"}, [][]string{{"orders.fifo", "unpaid.fifo after 3", "worker"}, {"x", "-", "-"}})
	want = "QUEUE        DEAD LETTERS      CONSUMERS\n" +
		"orders.fifo  unpaid.fifo       worker\n" +
		"             after 3\n" +
		"x            -                 -\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	on(&out, 200, true).Table(header, row()[:1])
	if got := out.String(); !strings.Contains(got, "\x1b[32mActive\x1b[0m") || !strings.Contains(got, "\x1b[2mNAME\x1b[0m") {
		t.Errorf("%q", got)
	}
	out.Reset()
	on(&out, 10, false).Table([]string{"ONE"}, [][]string{{"more than there is room for"}}) // a line of its own
	if got := out.String(); got != "ONE\nmore than there is room for\n" {
		t.Errorf("%q", got)
	}
}

// Paragraphs are broken at the terminal's width, columns within the last one; commands to copy are left alone, and all that goes to a pipe.
func TestFit(t *testing.T) {
	text := "A paragraph that is wider than a terminal of 40\ncolumns.\n\nShort.\nLines.\n\n" +
		"  hansom a command that is there to be copied\n\n  -f, --flag   what it does, in so many words\n  -h           help\n"
	want := "A paragraph that is wider than a\nterminal of 40 columns.\n\nShort.\nLines.\n\n" +
		"  hansom a command that is there to be copied\n\n  -f, --flag   what it does, in so many\n               words\n  -h           help\n"
	var out strings.Builder
	if diff := cmp.Diff(want, on(&out, 40, false).Fit(text)); diff != "" {
		t.Error(diff)
	}
	if got := New(&out, nil).Fit(text); got != text {
		t.Errorf("%q", got)
	}
}

func TestColour(t *testing.T) {
	for _, c := range []struct {
		env    map[string]string
		colour bool // of a pipe
	}{
		{nil, false},
		{map[string]string{"CLICOLOR_FORCE": "1"}, true},
		{map[string]string{"CLICOLOR_FORCE": "0"}, false},
		{map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, false},
	} {
		if got := New(&strings.Builder{}, c.env).Paint("x", Red) != "x"; got != c.colour {
			t.Errorf("%v: colour %v", c.env, got)
		}
	}
}

func TestExcerpt(t *testing.T) {
	for _, c := range []struct {
		columns, column int
		source, want    string
	}{
		{80, 5, "    handlr: x", "    5 |     handlr: x\n      |     ^\n"},
		{80, 2, "\tx\x1b", "    5 |  x\uFFFD\n      |  ^\n"},
		{28, 3, "ab" + strings.Repeat("c", 40), "    5 | abccccccccccccccccc…\n      |   ^\n"},
		{28, 41, strings.Repeat("a", 40) + "bcd", "    5 | …aaaaaaaaabcd\n      |           ^\n"},
	} {
		var out strings.Builder
		on(&out, c.columns, false).Excerpt(5, c.column, c.source)
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%q at %d:\n%s", c.source, c.column, diff)
		}
	}
}

// Progress is for those who watch.
func TestProgress(t *testing.T) {
	var out strings.Builder
	New(&out, map[string]string{"CLICOLOR_FORCE": "1"}).Progress("building %s", "a")
	if out.Len() > 0 {
		t.Errorf("a pipe gets %q", out.String())
	}
	on(&out, 10, false).Progress("building %s", "everything")
	if got := out.String(); got != "\r\x1b[Kbuilding…" {
		t.Errorf("%q", got)
	}
}
