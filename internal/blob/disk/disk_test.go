package disk

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/blob"
	"github.com/hansomcloud/hansom/internal/blob/blobtest"
)

func TestContract(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store {
		s, err := New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// What a killed server left half written is gone after the next start, and what it stored is there.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(context.Background(), "p/code/a", strings.NewReader("kept")); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(s.incoming, "put-1")
	if err := os.WriteFile(half, []byte("ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = New(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("the half written file: %v", err)
	}
	if info, err := s.Stat(context.Background(), "p/code/a"); err != nil || info.Size != 4 {
		t.Errorf("the stored blob: %+v, %v", info, err)
	}
}

func TestCannotOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(file); err == nil {
		t.Error("a file was taken for a directory")
	}
}
