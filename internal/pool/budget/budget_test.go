package budget

import (
	"slices"
	"testing"
)

func TestBudget(t *testing.T) {
	var free, limit int64
	b := New[string](10, func(f, l int64) { free, limit = f, l })
	if free != 10 || limit != 10 {
		t.Errorf("%d of %d are free", free, limit)
	}
	if !b.Reserve(7) || b.Reserve(4) || b.Missing(4) != 1 {
		t.Errorf("7 of 10 are taken: %d used, %d missing for 4", b.Used(), b.Missing(4))
	}
	b.End(7) // counts as free for who plans, not for who takes
	if b.Missing(4) >= 0 || b.Reserve(4) {
		t.Errorf("7 of 10 are ending: %d missing for 4", b.Missing(4))
	}
	b.Hold(5)
	if b.Ended(7); b.Used() != 5 || free != 5 {
		t.Errorf("%d used, %d free", b.Used(), free)
	}
	b.Ended(5)
	if !b.Reserve(10) || b.Limit() != 10 {
		t.Error("all is free, and cannot be taken")
	}
	b.Release(10)
}

// Those that wait are served in their order, by one at a time, who looks again when something happened meanwhile.
func TestHungry(t *testing.T) {
	b := New[string](1, nil)
	b.Want("a")
	b.Want("b")
	b.Want("a")
	if b.Waiting() != 2 || !b.Begin() || b.Begin() {
		t.Fatalf("%d wait", b.Waiting())
	}
	if list, ok := b.Next(); !ok || !slices.Equal(list, []string{"a", "b"}) {
		t.Errorf("%v %t", list, ok)
	}
	b.Sated("a")
	if b.Begin() {
		t.Error("two serve")
	}
	if list, ok := b.Next(); !ok || !slices.Equal(list, []string{"b"}) {
		t.Errorf("%v %t", list, ok)
	}
	if _, ok := b.Next(); ok || !b.Begin() {
		t.Error("nothing happened, and it is served again")
	}
	b.Cancel()
	if !b.Begin() {
		t.Error("nobody serves, and nobody may")
	}
}
