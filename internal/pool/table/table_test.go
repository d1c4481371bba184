package table

import (
	"slices"
	"strconv"
	"sync"
	"testing"
)

func TestTable(t *testing.T) {
	table := New[int, string](strconv.Itoa)
	var adding sync.WaitGroup
	for i := range 200 {
		adding.Go(func() {
			for range 2 {
				if got := table.Add(i, func() string { return strconv.Itoa(i) }); got != strconv.Itoa(i) {
					t.Errorf("added %d, got %q", i, got)
				}
			}
		})
	}
	adding.Wait()
	if table.Get(150) != "150" || table.Get(200) != "" {
		t.Errorf("%q, %q", table.Get(150), table.Get(200))
	}
	table.Sweep(func(s string) bool { return len(s) > 1 })
	all := slices.Sorted(table.All())
	if table.Get(150) != "" || len(all) != 10 || all[9] != "9" {
		t.Errorf("%q", all)
	}
	if n := testing.AllocsPerRun(100, func() { table.Get(5) }); n != 0 {
		t.Errorf("%f allocations", n)
	}
}
