// Package blobtest is the contract that every blob.Store keeps.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/blob"
)

// Run runs the suite; open returns a new empty store for each test.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for name, test := range map[string]func(*testing.T, blob.Store){
		"RoundTrip":      testRoundTrip,
		"Missing":        testMissing,
		"BadKeys":        testBadKeys,
		"ReplaceOpen":    testReplaceOpen,
		"FailedPut":      testFailedPut,
		"List":           testList,
		"ConcurrentPuts": testConcurrentPuts,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put(t *testing.T, s blob.Store, key, content string) {
	t.Helper()
	n, err := s.Put(context.Background(), key, strings.NewReader(content))
	if err != nil || n != int64(len(content)) {
		t.Fatalf("Put(%q): %d bytes, %v", key, n, err)
	}
}

func get(t *testing.T, s blob.Store, key string) string {
	t.Helper()
	r, size, err := s.Open(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || size != int64(len(b)) {
		t.Fatalf("Open(%q) said %d bytes and gave %d (%v)", key, size, len(b), err)
	}
	return string(b)
}

func testRoundTrip(t *testing.T, s blob.Store) {
	for key, content := range map[string]string{
		"000000000000/code/a.zip": strings.Repeat("x", 1<<20),
		"000000000000/code/b.zip": "",
		"000000000001/code/a.zip": "another project's",
		"p/deep/er/and-deep_er/@": "y",
	} {
		put(t, s, key, content)
		if got := get(t, s, key); got != content {
			t.Errorf("%s came back as %d bytes", key, len(got))
		}
		info, err := s.Stat(context.Background(), key)
		if err != nil || info.Key != key || info.Size != int64(len(content)) || info.Modified.IsZero() {
			t.Errorf("Stat(%q) = %+v, %v", key, info, err)
		}
	}
	r, _, err := s.Open(context.Background(), "000000000001/code/a.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Seek(-9, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "project's" {
		t.Errorf("after a seek: %q, %v", b, err)
	}
}

func testMissing(t *testing.T, s blob.Store) {
	ctx := context.Background()
	put(t, s, "p/dir/file", "x")
	for _, key := range []string{"p/none", "p/dir", "p/dir/none"} {
		if _, _, err := s.Open(ctx, key); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("Open(%q): %v", key, err)
		}
		if _, err := s.Stat(ctx, key); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("Stat(%q): %v", key, err)
		}
		if err := s.Delete(ctx, key); err != nil {
			t.Errorf("Delete(%q): %v", key, err)
		}
	}
	if err := s.Delete(ctx, "p/dir/file"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(ctx, "p/dir/file"); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("a deleted blob is there: %v", err)
	}
}

func testBadKeys(t *testing.T, s blob.Store) {
	ctx := context.Background()
	for _, key := range []string{"", "p", "/p/a", "p/", "p//a", "p/../q/a", "../a/b", "p/.", "p/a\x00b", "p/a b", `p\a`, "p/ä",
		"p/" + strings.Repeat("a", 256), strings.Repeat("a/", 600) + "a"} {
		_, putErr := s.Put(ctx, key, strings.NewReader("x"))
		_, _, openErr := s.Open(ctx, key)
		_, statErr := s.Stat(ctx, key)
		for op, err := range map[string]error{"Put": putErr, "Open": openErr, "Stat": statErr, "Delete": s.Delete(ctx, key)} {
			if hansom.KindOf(err) != hansom.Invalid {
				t.Errorf("%s(%q): %v", op, key, err)
			}
		}
	}
}

func testReplaceOpen(t *testing.T, s blob.Store) {
	put(t, s, "p/a", "first")
	r, _, err := s.Open(context.Background(), "p/a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, s, "p/a", "second")
	if got := get(t, s, "p/a"); got != "second" {
		t.Errorf("a replaced blob reads %q", got)
	}
	if err := s.Delete(context.Background(), "p/a"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "first" {
		t.Errorf("what was open reads %q, %v", b, err)
	}
}

func testFailedPut(t *testing.T, s blob.Store) {
	put(t, s, "p/a", "old")
	broken := errors.New("the upload broke off")
	_, err := s.Put(context.Background(), "p/a", io.MultiReader(strings.NewReader("new"), failing{broken}))
	if !errors.Is(err, broken) {
		t.Errorf("Put returned %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Put(ctx, "p/a", strings.NewReader("new")); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Put returned %v", err)
	}
	if got := get(t, s, "p/a"); got != "old" {
		t.Errorf("after a failed Put the blob reads %q", got)
	}
	if got := keys(t, s, ""); !slices.Equal(got, []string{"p/a"}) {
		t.Errorf("after a failed Put there are %q", got)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func keys(t *testing.T, s blob.Store, prefix string) []string {
	t.Helper()
	found := map[string]bool{}
	for info, err := range s.List(context.Background(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		found[info.Key] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func testList(t *testing.T, s blob.Store) {
	all := []string{"p/code/a", "p/code/ab", "p/codes/a", "q/code/a"}
	for _, key := range all {
		put(t, s, key, key)
	}
	for prefix, want := range map[string][]string{
		"":          all,
		"p/":        {"p/code/a", "p/code/ab", "p/codes/a"},
		"p/code":    {"p/code/a", "p/code/ab", "p/codes/a"},
		"p/code/":   {"p/code/a", "p/code/ab"},
		"p/code/ab": {"p/code/ab"},
		"nothing/":  nil,
		"../":       nil,
	} {
		if got := keys(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
	n := 0
	for range s.List(context.Background(), "") {
		n++
		break
	}
	if n != 1 {
		t.Errorf("a list that was left yielded %d", n)
	}
}

func testConcurrentPuts(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			content := bytes.Repeat([]byte{byte('0' + i)}, 100_000)
			if _, err := s.Put(context.Background(), "p/same/key", bytes.NewReader(content)); err != nil {
				t.Error(err)
			}
			put(t, s, fmt.Sprintf("p/own/%d", i), string(content))
		})
	}
	wg.Wait()
	got := get(t, s, "p/same/key")
	if len(got) != 100_000 || strings.Trim(got, got[:1]) != "" {
		t.Errorf("the blob is a mixture, or %d bytes", len(got))
	}
	if n := len(keys(t, s, "p/own/")); n != 8 {
		t.Errorf("%d of 8 blobs are there", n)
	}
}
