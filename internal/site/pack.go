package site

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"runtime"

	"github.com/andybalholm/brotli"
	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
)

// What is compressed: smaller files gain nothing, larger ones would take long.
const (
	minPacked = 1 << 10  // bytes
	maxPacked = 16 << 20 // bytes
	finePack  = 1 << 20  // larger files are compressed less thoroughly
)

// packed tells whether a file has compressed forms.
func packed(f *artifact.File) bool {
	return f.Size >= minPacked && f.Size <= maxPacked && compressible(contentType(f.Path))
}

// packAll makes the compressed forms of the files that have none yet.
func (s *Service) packAll(ctx context.Context, project string, u *artifact.Upload) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, runtime.GOMAXPROCS(0)/2))
	for i := range u.Files {
		f := &u.Files[i]
		if !packed(f) {
			continue
		}
		g.Go(func() error { return s.pack(ctx, project, f) })
	}
	return g.Wait()
}

// pack makes the compressed forms of a file. One that gains too little is kept as an empty one, so that it is not tried again.
func (s *Service) pack(ctx context.Context, project string, f *artifact.File) error {
	var data []byte
	for _, suffix := range suffixes[:formPlain] {
		_, ok, err := s.files.FileSize(ctx, project, f.SHA256, suffix)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if data == nil {
			if data, err = s.read(ctx, project, f); err != nil {
				return err
			}
		}
		select {
		case s.packing <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		small, err := compress(suffix, data)
		<-s.packing
		if err != nil {
			return err
		}
		if len(small) > len(data)-len(data)/20 {
			small = nil
		}
		if err := s.files.PutVariant(ctx, project, f.SHA256, suffix, small); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) read(ctx context.Context, project string, f *artifact.File) ([]byte, error) {
	r, size, err := s.files.OpenFile(ctx, project, f.SHA256, "")
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "read file of site", "%w", err)
	}
	return data, nil
}

func compress(suffix string, data []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	if suffix == suffixes[formBrotli] {
		level := 9
		if len(data) > finePack {
			level = 5
		}
		w = brotli.NewWriterLevel(&out, level)
	} else {
		z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
		if err != nil {
			return nil, hansom.Errorf(hansom.Internal, "compress file", "%w", err)
		}
		w = z
	}
	_, err := w.Write(data)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "compress file", "%w", err)
	}
	return out.Bytes(), nil
}
