package site

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"github.com/hansomcloud/hansom"
)

// cache keeps the bytes of small files in memory, by digest: sites that share a file share them. What has not been asked for since the
// hand of the clock last came by makes room for what is new.
type cache struct {
	limit int64 // bytes of all
	open  func(ctx context.Context, k blobKey) (io.ReadSeekCloser, int64, error)

	bodies  sync.Map // blobKey -> *body
	flights singleflight.Group

	mu   sync.Mutex
	ring []*body
	hand int
	size int64
}

type body struct {
	key  any
	data []byte
	used atomic.Bool
}

// get returns what is in memory; it does not wait.
func (c *cache) get(key any) ([]byte, bool) {
	v, ok := c.bodies.Load(key)
	if !ok {
		return nil, false
	}
	b := v.(*body)
	if !b.used.Load() {
		b.used.Store(true)
	}
	return b.data, true
}

// load reads a blob and keeps it. Callers that come at the same time share the work.
func (c *cache) load(ctx context.Context, key any) ([]byte, error) {
	k := key.(blobKey)
	v, err, _ := c.flights.Do(k.project+k.digest+k.suffix, func() (any, error) {
		if data, ok := c.get(key); ok {
			return data, nil
		}
		r, size, err := c.open(context.WithoutCancel(ctx), k)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, hansom.Errorf(hansom.Internal, "read file of site", "%w", err)
		}
		c.add(&body{key: key, data: data})
		return data, nil
	})
	if err != nil {
		return nil, err
	}
	return v.([]byte), nil
}

func (c *cache) add(b *body) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int64(len(b.data))
	if n > c.limit {
		return
	}
	for c.size+n > c.limit && len(c.ring) > 0 {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		old := c.ring[c.hand]
		if old.used.Swap(false) {
			c.hand++
			continue
		}
		c.bodies.Delete(old.key)
		c.size -= int64(len(old.data))
		last := len(c.ring) - 1
		c.ring[c.hand], c.ring[last] = c.ring[last], nil
		c.ring = c.ring[:last]
	}
	c.ring = append(c.ring, b)
	c.size += n
	c.bodies.Store(b.key, b)
}
