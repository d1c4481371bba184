package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// Limits of an upload.
const (
	MaxFiles  = 20_000
	MaxFile   = 512 << 20 // bytes of a file
	MaxUpload = 4 << 30   // bytes of all files
	MaxList   = 8 << 20   // bytes of the list itself
	maxPath   = 1024      // bytes
)

// File of an upload.
type File struct {
	Path   string `json:"path"` // in slash form, as CheckPath takes it
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"` // bytes
}

// Upload is the list of the files of a site. It stands for them: its own digest is that of all they are. The files are kept by
// digest, so that uploads share those that they have in common.
type Upload struct {
	Files []File `json:"files"` // by path, each once
}

// Encode returns an upload as PutUpload takes it, and its digest.
func (u *Upload) Encode() (text []byte, digest string, err error) {
	slices.SortFunc(u.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	if text, err = json.Marshal(u); err != nil {
		return nil, "", err
	}
	return text, Digest(text), nil
}

// Bytes of all files.
func (u *Upload) Bytes() (n int64) {
	for i := range u.Files {
		n += u.Files[i].Size
	}
	return n
}

// Find returns the file with a digest; nil when there is none.
func (u *Upload) Find(digest string) *File {
	i := slices.IndexFunc(u.Files, func(f File) bool { return f.SHA256 == digest })
	if i < 0 {
		return nil
	}
	return &u.Files[i]
}

var digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ParseUpload reads a list of files, strictly. Errors: Invalid, TooLarge.
func ParseUpload(text []byte) (*Upload, error) {
	const op = "read list of files"
	if len(text) > MaxList {
		return nil, hansom.Errorf(hansom.TooLarge, op, "the list of files has more than %d MB", MaxList>>20)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var u Upload
	if err := dec.Decode(&u); err != nil {
		return nil, hansom.Errorf(hansom.Invalid, op, "the list of files is not what is taken: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, hansom.Errorf(hansom.Invalid, op, "there is something after the list of files")
	}
	return &u, u.check()
}

func (u *Upload) check() error {
	const op = "check list of files"
	if len(u.Files) == 0 {
		return hansom.Errorf(hansom.Invalid, op, "a site has at least one file")
	}
	if len(u.Files) > MaxFiles {
		return hansom.Errorf(hansom.TooLarge, op, "the site has %d files; the limit is %d", len(u.Files), MaxFiles)
	}
	var total int64
	for i, f := range u.Files {
		if err := CheckPath(f.Path); err != nil {
			return hansom.Errorf(hansom.Invalid, op, "%w", err)
		}
		switch {
		case !digestPattern.MatchString(f.SHA256):
			return hansom.Errorf(hansom.Invalid, op, "%.80q is not the SHA-256 of %s: 64 lower-case hex digits", f.SHA256, f.Path)
		case i > 0 && u.Files[i-1].Path >= f.Path:
			return hansom.Errorf(hansom.Invalid, op, "the list of files must be sorted by path, each once: %s is out of place", f.Path)
		case f.Size < 0 || f.Size > MaxFile:
			return hansom.Errorf(hansom.TooLarge, op, "%s has %d bytes; a file has at most %d MB", f.Path, f.Size, MaxFile>>20)
		}
		if total += f.Size; total > MaxUpload {
			return hansom.Errorf(hansom.TooLarge, op, "the files have more than %d GB together", MaxUpload>>30)
		}
	}
	return nil
}

// CheckPath says what is wrong with the path of a file: it has elements joined by "/", of valid UTF-8 without control characters and
// backslashes; none is empty, "." or "..", and none begins with a dot but ".well-known" at the top.
func CheckPath(path string) error {
	switch {
	case path == "" || len(path) > maxPath:
		return fmt.Errorf("the path %.80q must have 1 to %d bytes", path, maxPath)
	case !utf8.ValidString(path):
		return fmt.Errorf("the path %.80q is not UTF-8", path)
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return fmt.Errorf("the path %.80q has a control character or a backslash", path)
	}
	for i, e := range strings.Split(path, "/") {
		switch {
		case e == "":
			return fmt.Errorf("the path %.80q has an empty element", path)
		case e[0] == '.' && (i > 0 || e != ".well-known"):
			return fmt.Errorf("the path %.80q has an element that begins with a dot; only .well-known may", path)
		case len(e) > 255:
			return fmt.Errorf("the path %.80q has an element of more than 255 bytes", path)
		}
	}
	return nil
}

// FileKey is where the blob store keeps a file of a project; variants of it have a suffix.
func FileKey(project, sha256 string) string { return project + "/site/" + sha256 }

func uploadKey(project, sha256 string) string { return FileKey(project, sha256) + ".json" }

// variants are the suffixes of what is made of a file and goes with it.
var variants = []string{".br", ".gz"}

// owner is the key whose references and uses count for a blob.
func owner(key string) string {
	for _, suffix := range variants {
		if file, ok := strings.CutSuffix(key, suffix); ok {
			return file
		}
	}
	return key
}

// PutUpload stores a list of files, which must have this digest, and tells which of the files are not there. Those that are stay for the
// grace period. Errors: Invalid, TooLarge.
func (s *Store) PutUpload(ctx context.Context, project, digest string, text []byte) (u *Upload, missing []string, err error) {
	if got := Digest(text); got != digest {
		return nil, nil, hansom.Errorf(hansom.Invalid, "put list of files", "the body's SHA-256 is %s, not the one in the path; send it again", got)
	}
	if u, err = ParseUpload(text); err != nil {
		return nil, nil, err
	}
	key := uploadKey(project, digest)
	defer s.hold(key)()
	if info, err := s.blobs.Stat(ctx, key); err != nil || info.Size != int64(len(text)) {
		if _, err := s.blobs.Put(ctx, key, bytes.NewReader(text)); err != nil {
			return nil, nil, err
		}
	}
	missing, err = s.Missing(ctx, project, u)
	return u, missing, err
}

// Upload reads a list of files. Errors: NotFound.
func (s *Store) ReadUpload(ctx context.Context, project, digest string) (*Upload, error) {
	r, size, err := s.blobs.Open(ctx, uploadKey(project, digest))
	if hansom.KindOf(err) == hansom.NotFound {
		return nil, hansom.Errorf(hansom.NotFound, "read list of files", "the list of files %s has not been uploaded; upload it first", digest)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, failed("read list of files", err)
	}
	return ParseUpload(text)
}

// KeepUpload begins the grace period of a list and its files anew: call it in the transaction that refers to them.
func (s *Store) KeepUpload(project, digest string, u *Upload) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch(uploadKey(project, digest), now)
	for i := range u.Files {
		s.touch(FileKey(project, u.Files[i].SHA256), now)
	}
}

// touch notes that something was asked for. s.mu is held.
func (s *Store) touch(key string, now time.Time) {
	u := s.uses[key]
	if u == nil {
		u = &use{}
		s.uses[key] = u
	}
	u.last = now
}

// Missing are the digests of the files of an upload that are not stored, each once. What is there is kept for the grace period.
func (s *Store) Missing(ctx context.Context, project string, u *Upload) ([]string, error) {
	now := s.cfg.Now()
	s.mu.Lock()
	for i := range u.Files { // first, so that nothing goes between the look and its use
		s.touch(FileKey(project, u.Files[i].SHA256), now)
	}
	s.mu.Unlock()
	missing := []string{}
	seen := make(map[string]bool, len(u.Files))
	for _, f := range u.Files {
		if seen[f.SHA256] {
			continue
		}
		seen[f.SHA256] = true
		switch info, err := s.blobs.Stat(ctx, FileKey(project, f.SHA256)); {
		case hansom.KindOf(err) == hansom.NotFound || err == nil && info.Size != f.Size:
			missing = append(missing, f.SHA256)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

// PutFile stores a file that r yields, which must have the digest and the size of f. Errors: those of r; Invalid.
func (s *Store) PutFile(ctx context.Context, project string, f *File, r io.Reader) error {
	key := FileKey(project, f.SHA256)
	defer s.hold(key)()
	n, err := s.blobs.Put(ctx, key, Verify(r, f.SHA256, f.Size))
	if err == nil && n != f.Size {
		err = errors.Join(hansom.Errorf(hansom.Invalid, "put file", "%s has %d bytes, not %d as its list says", f.Path, n, f.Size), s.blobs.Delete(ctx, key))
	}
	return err
}

// PutVariant stores what was made of a file that is there, under its digest and a suffix: ".br" or ".gz".
func (s *Store) PutVariant(ctx context.Context, project, digest, suffix string, data []byte) error {
	defer s.hold(FileKey(project, digest))()
	_, err := s.blobs.Put(ctx, FileKey(project, digest)+suffix, bytes.NewReader(data))
	return err
}

// FileSize is the size in bytes of a file, or of a variant of it; ok is false when it is not there.
func (s *Store) FileSize(ctx context.Context, project, digest, suffix string) (size int64, ok bool, err error) {
	info, err := s.blobs.Stat(ctx, FileKey(project, digest)+suffix)
	if hansom.KindOf(err) == hansom.NotFound {
		return 0, false, nil
	}
	return info.Size, err == nil, err
}

// OpenFile opens a file, or a variant of it. Errors: NotFound.
func (s *Store) OpenFile(ctx context.Context, project, digest, suffix string) (io.ReadSeekCloser, int64, error) {
	return s.blobs.Open(ctx, FileKey(project, digest)+suffix)
}

// Site marks the upload of a site, and all its files.
func (r *References) Site(project, upload string) { r.uploads[[2]string{project, upload}] = true }

// files marks the files of the uploads that are marked. One that is not there has lost them.
func (r *References) files(ctx context.Context, s *Store) error {
	for of := range r.uploads {
		r.packages[uploadKey(of[0], of[1])] = true
		u, err := s.ReadUpload(ctx, of[0], of[1])
		switch {
		case hansom.KindOf(err) == hansom.NotFound:
			s.log.Warn("the list of the files of a site is missing", "project", of[0], "upload", of[1])
			continue
		case err != nil:
			return err
		}
		for i := range u.Files {
			r.packages[FileKey(of[0], u.Files[i].SHA256)] = true
		}
	}
	return nil
}

// Verify passes on what r yields and fails when it has more than limit bytes, or at its end unless it has the digest. Errors: those of r;
// Invalid, TooLarge; Canceled when it breaks off.
func Verify(r io.Reader, digest string, limit int64) io.Reader {
	return &verifier{r: r, sum: sha256.New(), want: digest, left: limit, limit: limit}
}

type verifier struct {
	r           io.Reader
	sum         hash.Hash
	want        string
	left, limit int64
}

func (v *verifier) Read(p []byte) (int, error) {
	const op = "read upload"
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	v.left -= int64(n)
	switch {
	case v.left < 0:
		return n, hansom.Errorf(hansom.TooLarge, op, "the body has more than %d bytes", v.limit)
	case errors.Is(err, io.EOF):
		if got := hex.EncodeToString(v.sum.Sum(nil)); got != v.want {
			return n, hansom.Errorf(hansom.Invalid, op, "the body's SHA-256 is %s, not the one in the path; send it again", got)
		}
	case err != nil && hansom.KindOf(err) == hansom.Internal:
		return n, hansom.Errorf(hansom.Canceled, op, "the body broke off: %w", err)
	}
	return n, err
}
