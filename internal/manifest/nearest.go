package manifest

import (
	"fmt"
	"strings"
)

// Unknown says that key is not known and names the nearest of the known ones, or all of them when none is near.
func Unknown(key string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		d := editDistance(strings.ToLower(key), k)
		if len(key) > 1 && strings.HasPrefix(k, strings.ToLower(key)) {
			d = 1 // cut short: mem for memory
		}
		if d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("unknown key %q; did you mean %s?", key, best)
	}
	return fmt.Sprintf("unknown key %q; the keys are %s", key, strings.Join(known, ", "))
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
