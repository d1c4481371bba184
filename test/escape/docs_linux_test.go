package escape

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of docs/reference/isolation.md")

// TestDocs compares the table of doors in the reference with the attempts.
func TestDocs(t *testing.T) {
	type door struct {
		attempts, controls int
		refusals           []string
	}
	doors, order := map[string]*door{}, []string{}
	for _, r := range readRows(t) {
		d := doors[r.door]
		if d == nil {
			d = &door{}
			doors[r.door] = d
			order = append(order, r.door)
		}
		d.attempts++
		if r.control != "" {
			d.controls++
		}
		for _, refusal := range r.refusal {
			if !slices.Contains(d.refusals, refusal) {
				d.refusals = append(d.refusals, refusal)
			}
		}
	}
	table := "| door | attempts | work outside | answers inside |\n| --- | --- | --- | --- |\n"
	for _, name := range order {
		d := doors[name]
		slices.Sort(d.refusals)
		table += fmt.Sprintf("| %s | %d | %d | %s |\n", name, d.attempts, d.controls, strings.Join(d.refusals, ", "))
	}
	const path, title = "../../docs/reference/isolation.md", "## Doors\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), title)
	if !ok {
		t.Fatalf("%s has no section %q", path, title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	_, old, _ := strings.Cut(section, "\n| door")
	old = "| door" + old
	if strings.TrimSpace(old) == strings.TrimSpace(table) {
		return
	}
	if !*update {
		t.Fatalf("the table of %s is old: go test ./test/escape -run TestDocs -update", path)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), strings.TrimSpace(old), strings.TrimSpace(table), 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}
