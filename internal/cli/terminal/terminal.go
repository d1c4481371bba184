// Package terminal writes for people and for pipes: colour, progress and widths belong to a terminal, a pipe gets plain text.
package terminal

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// Colour is an SGR parameter (ECMA-48).
type Colour string

const (
	Bold   Colour = "1"
	Dim    Colour = "2"
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
	Cyan   Colour = "36"
)

// Writer is a command's output. It may be written to from several goroutines.
type Writer struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	colour   bool
	moves    bool // the cursor can be moved: progress is shown
	width    func() int
}

// New returns a Writer to w, which may be a terminal, in an environment: NO_COLOR (no-color.org), CLICOLOR_FORCE, TERM=dumb and
// COLUMNS are respected.
func New(w io.Writer, env map[string]string) *Writer {
	out := &Writer{w: w, terminal: IsTerminal(w), width: func() int { return 0 }}
	smart := out.terminal && env["TERM"] != "dumb"
	out.moves = smart
	force := env["CLICOLOR_FORCE"]
	out.colour = env["NO_COLOR"] == "" && (smart || force != "" && force != "0")
	if f, ok := w.(*os.File); ok && out.terminal {
		out.width = func() int {
			if n, err := strconv.Atoi(env["COLUMNS"]); err == nil && n > 0 {
				return n
			}
			n, _, err := term.GetSize(int(f.Fd()))
			if err != nil || n <= 0 {
				return 80
			}
			return n
		}
	}
	return out
}

// IsTerminal says whether v is a file on a terminal, or a Writer to one.
func IsTerminal(v any) bool {
	if w, ok := v.(*Writer); ok {
		return w.terminal
	}
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// Paint gives text colours; none where there are none.
func (w *Writer) Paint(text string, colours ...Colour) string {
	if !w.colour || text == "" || len(colours) == 0 {
		return text
	}
	codes := make([]string, len(colours))
	for i, c := range colours {
		codes[i] = string(c)
	}
	return "\x1b[" + strings.Join(codes, ";") + "m" + text + "\x1b[0m"
}

// Width is the terminal's in columns; 0 where lines may be as long as they are.
func (w *Writer) Width() int { return w.width() }

// Progress shows what is being done until the next one, or an empty one, takes its place; only where that can be done.
func (w *Writer) Progress(format string, args ...any) {
	if w.moves {
		fmt.Fprint(w, "\r\x1b[K"+cut(fmt.Sprintf(format, args...), w.width()-1))
	}
}

// Excerpt shows a line of a file with a mark below a column; both count from 1.
func (w *Writer) Excerpt(line, column int, source string) {
	source = Printable(strings.ReplaceAll(source, "\t", " "))
	number := fmt.Sprintf("%5d", line)
	room := w.width() - len(number) - 3
	if room > 0 && column > room { // what is left of the mark is cut
		runes := []rune(source)
		from := min(column-room/2, len(runes))
		source, column = "…"+string(runes[from:]), column-from+1
	}
	fmt.Fprintf(w, "%s %s\n%s %s\n", w.Paint(number+" |", Dim), cut(source, room),
		w.Paint(strings.Repeat(" ", len(number))+" |", Dim), strings.Repeat(" ", max(0, column-1))+w.Paint("^", Bold, Red))
}

// words that have a colour in the columns ACTION, STATE and STATUS.
var words = map[string]Colour{
	"create": Green, "update": Yellow, "delete": Red,
	"ok": Green, "warning": Yellow, "error": Red,
	"Active": Green, "Failed": Red, "update failed": Red, "Pending": Yellow, "updating": Yellow, "Inactive": Dim,
}

var painted = map[string]bool{"ACTION": true, "STATE": true, "STATUS": true}

// Columns are not cut below minColumn; the last gets minLast before it is broken into lines.
const (
	minColumn = 8
	minLast   = 24
)

// Table prints rows in aligned columns. A row of one cell is a line of its own. On a terminal the last column is broken into
// lines, and where that leaves it too little so are the widest others. Words of those are cut when nothing else helps, except those of
// addresses: they are there to be copied. Cells are cleaned of control characters: they may come from anywhere.
func (w *Writer) Table(header []string, rows [][]string) {
	last := len(header) - 1
	widths, longest, fixed := make([]int, len(header)), make([]int, len(header)), make([]bool, len(header))
	all := append([][]string{header}, rows...)
	for _, row := range all {
		for i, cell := range row {
			row[i] = Printable(cell)
			if len(row) > 1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
				fixed[i] = fixed[i] || strings.Contains(cell, "://")
				for word := range strings.SplitSeq(row[i], " ") {
					longest[i] = max(longest[i], utf8.RuneCountInString(word))
				}
			}
		}
	}
	w.fit(widths, longest, fixed)
	var text strings.Builder
	for n, row := range all {
		height := 1
		cells := make([][]string, len(row))
		for i, cell := range row {
			if cells[i] = []string{cell}; last > 0 && len(row) > 1 {
				cells[i] = wrap(cell, widths[i])
			}
			height = max(height, len(cells[i]))
		}
		for at := range height {
			line := ""
			for i, lines := range cells {
				part := ""
				if at < len(lines) {
					part = lines[at]
				}
				if len(row) > 1 && i < last {
					part = cut(part, widths[i])
				}
				padding := ""
				if i < last {
					padding = strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(part)+2))
				}
				colour, ok := words[row[i]]
				switch {
				case n == 0:
					part = w.Paint(part, Dim)
				case ok && painted[header[i]]:
					part = w.Paint(part, colour)
				}
				line += part + padding
			}
			if line = strings.TrimRight(line, " "); line != "" || at > 0 {
				text.WriteString(line + "\n")
			}
		}
	}
	io.WriteString(w, text.String()) // at once: other lines may come in between
}

// fit makes columns narrower until a row is as wide as the terminal: first down to their longest words.
func (w *Writer) fit(widths, longest []int, fixed []bool) {
	width, last := w.width(), len(widths)-1
	if width == 0 {
		return
	}
	room := width - 2*last
	for _, n := range widths[:last] {
		room -= n
	}
	least := min(widths[last], minLast)
	for _, whole := range []bool{true, false} {
		for room < least {
			widest := -1
			for i, n := range widths[:last] {
				floor := minColumn
				if whole {
					floor = longest[i]
				}
				if !fixed[i] && n > floor && (widest < 0 || n > widths[widest]) {
					widest = i
				}
			}
			if widest < 0 {
				break
			}
			widths[widest]--
			room++
		}
	}
	widths[last] = min(widths[last], max(room, least))
}

// begin is what an indented line has before its last column.
var begin = regexp.MustCompile(`^ +\S.*? {2,}`)

// Fit breaks the lines of a text that are wider than the terminal: those of paragraphs together, those of columns within the last one.
// Indented lines without columns stay as they are: they are there to be copied.
func (w *Writer) Fit(text string) string {
	width := w.width()
	if width == 0 {
		return text
	}
	var out, paragraph []string
	end := func() {
		if slices.ContainsFunc(paragraph, func(line string) bool { return utf8.RuneCountInString(line) > width }) {
			paragraph = wrap(strings.Join(paragraph, " "), width)
		}
		out, paragraph = append(out, paragraph...), nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && !strings.HasPrefix(line, " ") {
			paragraph = append(paragraph, line)
			continue
		}
		end()
		if before := begin.FindString(line); before != "" && utf8.RuneCountInString(line) > width {
			rest := wrap(line[len(before):], max(width-len(before), minLast))
			line = before + strings.Join(rest, "\n"+strings.Repeat(" ", len(before)))
		}
		out = append(out, line)
	}
	end()
	return strings.Join(out, "\n")
}

// wrap breaks s at spaces into lines of n characters; a longer word is a line of its own.
func wrap(s string, n int) []string {
	var lines []string
	for word := range strings.SplitSeq(s, " ") {
		i := len(lines) - 1
		if i < 0 || utf8.RuneCountInString(lines[i])+1+utf8.RuneCountInString(word) > n {
			lines = append(lines, word)
		} else {
			lines[i] += " " + word
		}
	}
	return lines
}

// cut shortens s to n characters, 0 and less to what it is.
func cut(s string, n int) string {
	if n <= 0 || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// Printable replaces control characters, so that a log line or a name cannot steer the terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
