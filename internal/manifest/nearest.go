package manifest

import (
	"fmt"
	"strings"
)

// Unknown says that key is not known and names the nearest of the known ones, or all of them when none is near.
func Unknown(key string, known []string) string {
	if best := Nearest(key, known); best != "" {
		return fmt.Sprintf("unknown key %q; did you mean %s?", key, best)
	}
	return fmt.Sprintf("unknown key %q; the keys are %s", key, strings.Join(known, ", "))
}

// Nearest is the one of known that word was most likely meant to be; "" when none is near.
func Nearest(word string, known []string) string { return nearest(word, known, 3) }

// nearest finds what takes less than limit edits.
func nearest(word string, known []string, limit int) string {
	best := ""
	word = strings.ToLower(word)
	for _, k := range known {
		lower := strings.ToLower(k)
		d := editDistance(word, lower)
		if len(word) > 1 && d > 0 && strings.HasPrefix(lower, word) {
			d = 1 // cut short: mem for memory
		}
		if d < limit && d < len(k) {
			best, limit = k, d
		}
	}
	return best
}

// editDistance is Levenshtein's, over bytes. Long keys are far from everything.
func editDistance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
