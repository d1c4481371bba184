package recent

import (
	"sync"
	"testing"
)

func TestMap(t *testing.T) {
	m := New[int, string](1000)
	m.Put(1, "a")
	m.Put(1, "b")
	if v, ok := m.Get(1); !ok || v != "b" {
		t.Errorf("%q, %v", v, ok)
	}
	if v, ok := m.Get(2); ok {
		t.Errorf("%q", v)
	}
	// What is asked for all the time stays while very many others come and go, and the map does not grow.
	for i := range 100_000 {
		m.Put(i+10, "x")
		if v, _ := m.Get(1); v != "b" {
			t.Fatalf("after %d others it is %q", i, v)
		}
	}
	if n := m.Len(); n > 1000+shards || n < 400 {
		t.Errorf("%d entries", n)
	}
	m.DeleteFunc(func(k int, v string) bool { return v == "x" })
	if n := m.Len(); n != 1 {
		t.Errorf("%d entries are left", n)
	}
}

func TestConcurrent(t *testing.T) {
	m := New[int, int](64)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 5000 {
				m.Put(i%100, i%100)
				if v, ok := m.Get(i % 97); ok && v != i%97 {
					t.Errorf("%d has %d", i%97, v)
				}
				if i%1000 == 0 {
					m.DeleteFunc(func(k, _ int) bool { return k%2 == 0 })
				}
			}
		})
	}
	wg.Wait()
}
