package client

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// CodeFiles are the CRC-32 sums of the files in a function's package, by name. Of the package only the directory is fetched.
func (cl *Client) CodeFiles(ctx context.Context, function string) (map[string]uint32, error) {
	var out struct {
		Configuration Configuration
		Code          struct{ Location string }
	}
	if err := cl.Call(ctx, "GET", FunctionPath(function), nil, &out); err != nil {
		return nil, err
	}
	size := out.Configuration.CodeSize
	r, err := zip.NewReader(&remoteFile{ctx: ctx, http: cl.http, url: out.Code.Location, size: size}, size)
	if err != nil {
		return nil, fmt.Errorf("the code of %s cannot be read: %w", function, err)
	}
	return Files(r), nil
}

// Files are the CRC-32 sums of the files in a zip, by name.
func Files(r *zip.Reader) map[string]uint32 {
	out := map[string]uint32{}
	for _, f := range r.File {
		if !f.FileInfo().IsDir() {
			out[f.Name] = f.CRC32
		}
	}
	return out
}

// window is how much of a file is fetched at once, in bytes.
const window = 1 << 20

// remoteFile reads ranges of a file on a web server and keeps the last it fetched.
type remoteFile struct {
	ctx  context.Context
	http *http.Client
	url  string
	size int64

	from int64
	data []byte
}

func (f *remoteFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= f.size {
		return 0, io.EOF
	}
	end := min(off+int64(len(p)), f.size)
	if off < f.from || end > f.from+int64(len(f.data)) {
		if err := f.fetch(off, max(end, min(off+window, f.size))); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.data[off-f.from:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *remoteFile) fetch(from, to int64) error {
	req, err := http.NewRequestWithContext(f.ctx, "GET", f.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	resp, err := f.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return errors.New("the server answered " + resp.Status)
	}
	f.from, f.data = from, make([]byte, to-from)
	_, err = io.ReadFull(resp.Body, f.data)
	return err
}
