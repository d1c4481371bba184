// Package blob is bytes by key: code packages, and later objects and sites. Drivers are disk (and later s3); blobtest is
// the contract suite they share.
package blob

import (
	"context"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// Store keeps blobs. A key begins with the project and is checked by CheckKey. Its methods may be called from several goroutines.
// Errors: Invalid for a bad key, NotFound for one that is not there (Open, Stat).
type Store interface {
	// Put stores what r yields, all or nothing, and replaces what was there. It is durable when Put returns.
	Put(ctx context.Context, key string, r io.Reader) (size int64, err error)
	// Open reads a blob as it was when Open was called, even when it is replaced or deleted meanwhile.
	Open(ctx context.Context, key string) (r io.ReadSeekCloser, size int64, err error)
	Stat(ctx context.Context, key string) (Info, error)
	// Delete removes a blob; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// List yields the blobs whose key begins with prefix, in no order. It ends at the first error.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}

// Info describes a blob.
type Info struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
}

// MaxKey is the most bytes a key may have.
const MaxKey = 1024

// CheckKey says whether a key may be used: 2 or more elements joined by "/", the first of them the project; an element is
// 1 to 255 bytes of letters, digits and "-_.=+@", and is neither "." nor "..". The error is Invalid.
func CheckKey(key string) error {
	elements := strings.Split(key, "/")
	if len(key) > MaxKey || len(elements) < 2 {
		return hansom.Errorf(hansom.Invalid, "check blob key", "the blob key %q is not <project>/<name> of at most %d bytes", key, MaxKey)
	}
	for _, e := range elements {
		if e == "" || e == "." || e == ".." || len(e) > 255 || strings.ContainsFunc(e, notInKey) {
			return hansom.Errorf(hansom.Invalid, "check blob key", "the element %q of the blob key %q is not 1 to 255 letters, digits or -_.=+@", e, key)
		}
	}
	return nil
}

func notInKey(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.=+@", r))
}
