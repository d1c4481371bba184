package cli

import (
	"io"
	"strings"
	"unicode/utf8"
)

// table prints rows in aligned columns; the last column has no padding. A row of one cell is a line of its own. Cells are cleaned of control characters: they may
// come from anywhere.
func table(w io.Writer, header []string, rows [][]string) {
	widths := make([]int, len(header))
	all := append([][]string{header}, rows...)
	for _, row := range all {
		for i, cell := range row {
			row[i] = printable(cell)
			if len(row) > 1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
			}
		}
	}
	var text strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		if s := strings.TrimRight(line.String(), " "); s != "" {
			text.WriteString(s + "\n")
		}
	}
	io.WriteString(w, text.String()) // at once: other lines may come in between
}

// printable replaces control characters, so that a log line or a name cannot steer the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
