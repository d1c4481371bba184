package telemetry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

const functionGroups = "/aws/lambda/"

// groupID names a log group.
type groupID struct {
	project  string
	function string // of /aws/lambda/<function>; "" for other groups
	other    string // name of another group; "" for a function's
}

// destination is the group that e goes to.
func destination(e *hansom.LogEvent) groupID {
	if e.Group == "" {
		return groupID{project: e.Project, function: e.Function}
	}
	return groupOf(e.Project, e.Group)
}

func groupOf(project, group string) groupID {
	if f, ok := strings.CutPrefix(group, functionGroups); ok && isPlain(f) {
		return groupID{project: project, function: f}
	}
	return groupID{project: project, other: group}
}

// String is the name of the group without its project.
func (n groupID) String() string {
	if n.function != "" {
		return functionGroups + n.function
	}
	return n.other
}

func (n groupID) valid() bool {
	return isPlain(n.project) && (isPlain(n.function) || isGroup(n.other))
}

// folder is where the group is kept, below its project's. That of a function's group has the function's name; those of others
// begin with a character that no function's has, and end with what keeps them apart where file systems do not.
func (n groupID) folder() string {
	if n.function != "" {
		return n.function
	}
	readable := strings.NewReplacer("/", "%2F", "#", "%23").Replace(n.other)
	sum := sha256.Sum256([]byte(n.other))
	return "%" + readable[:min(len(readable), 100)] + "%" + hex.EncodeToString(sum[:16])
}

// nameIn tells the group that is kept in a folder of dir.
func nameIn(project, dir, folder string) (groupID, error) {
	if !strings.HasPrefix(folder, "%") {
		return groupID{project: project, function: folder}, nil
	}
	meta, err := readMetadata(filepath.Join(dir, folder))
	return groupID{project: project, other: meta.Name}, err
}

// isPlain tells whether s can be the name of a function or a project.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && c != '_' && !alphanumeric(c) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 140
}

// isGroup tells whether s can be the name of a log group, as CloudWatch Logs has them.
func isGroup(s string) bool {
	for i := range len(s) {
		if c := s[i]; !strings.ContainsRune("-_./#", rune(c)) && !alphanumeric(c) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 512
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

const metadataFile = "group.json"

// metadata of a group is in a file beside its segments. That of a function has none before something of it is set, or its oldest
// segment goes: then the name of that tells when it was made.
type metadata struct {
	Name      string            `json:"name"`
	Created   int64             `json:"created"`                   // Unix milliseconds
	Kept      bool              `json:"kept,omitempty"`            // it stays without lines: someone has made it, or set something of it
	Retention int               `json:"retentionInDays,omitempty"` // 0: the server's age limit
	Tags      map[string]string `json:"tags,omitempty"`
	Streams   map[string]int64  `json:"streams,omitempty"` // made by CreateStream, Unix milliseconds
}

func (l *Logs) age(m metadata) time.Duration {
	if m.Retention > 0 {
		return time.Duration(m.Retention) * 24 * time.Hour
	}
	return l.cfg.Age
}

func readMetadata(dir string) (m metadata, err error) {
	text, err := os.ReadFile(filepath.Join(dir, metadataFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(text, &m)
}

// writeMetadata replaces the file in one step.
func writeMetadata(dir string, m metadata) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, metadataFile), text)
}

// replaceFile writes a file in one step: after a crash it has its old or its new content, and perhaps a file whose name begins
// with a dot is left.
func replaceFile(path string, content []byte) error {
	fresh := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// keepDate writes down when a group was made, before its oldest segment, which begins at micros, is removed.
func keepDate(n groupID, dir string, micros int64) error {
	meta, err := readMetadata(dir)
	if err != nil || meta.Created != 0 {
		return err
	}
	meta.Name, meta.Created = n.String(), micros/1000
	return writeMetadata(dir, meta)
}

// makeFolder makes the folder of a group with its metadata, whole or not at all. It leaves one that is there.
func (l *Logs) makeFolder(n groupID, m metadata) error {
	project := filepath.Join(l.dir, n.project)
	if err := os.MkdirAll(project, 0o700); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(project, ".new-")
	if err != nil {
		return err
	}
	m.Name, m.Created = n.String(), l.cfg.Now().UnixMilli()
	if err := writeMetadata(fresh, m); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.Rename(fresh, filepath.Join(project, n.folder())); err != nil {
		os.RemoveAll(fresh)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Group is a log group.
type Group struct {
	Name      string
	Created   time.Time
	Retention int   // days; 0: the server's age limit
	Size      int64 // bytes of its lines
	Tags      map[string]string
}

const noGroup = "The specified log group does not exist."

// Groups lists the log groups of a project by name: those that functions have logged to and those made by CreateGroup.
func (l *Logs) Groups(ctx context.Context, project string) ([]Group, error) {
	if err := l.Sync(ctx); err != nil {
		return nil, err
	}
	names, err := l.names(project)
	if err != nil {
		return nil, internal("list log groups", err)
	}
	var list []Group
	for _, n := range names {
		g, err := l.stat(n)
		if err != nil && hansom.KindOf(err) != hansom.NotFound { // deleted meanwhile
			return nil, err
		}
		if err == nil {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// names lists the groups of a project that have a folder.
func (l *Logs) names(project string) ([]groupID, error) {
	dir := filepath.Join(l.dir, project)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []groupID
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if n, err := nameIn(project, dir, e.Name()); err != nil {
			return nil, err
		} else if n.valid() {
			list = append(list, n)
		}
	}
	return list, nil
}

// Group returns a log group. Errors: NotFound.
func (l *Logs) Group(ctx context.Context, project, group string) (Group, error) {
	if err := l.Sync(ctx); err != nil {
		return Group{}, err
	}
	return l.stat(groupOf(project, group))
}

func (l *Logs) stat(n groupID) (Group, error) {
	const op = "find log group"
	if !n.valid() {
		return Group{}, hansom.Errorf(hansom.NotFound, op, noGroup)
	}
	dir := filepath.Join(l.dir, n.project, n.folder())
	meta, err := readMetadata(dir)
	if err != nil {
		return Group{}, internal(op, err)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Group{}, hansom.Errorf(hansom.NotFound, op, noGroup)
	}
	if err != nil {
		return Group{}, internal(op, err)
	}
	g := Group{Name: n.String(), Created: time.UnixMilli(meta.Created), Retention: meta.Retention, Tags: meta.Tags}
	for _, e := range entries {
		micros, ok := segmentTime(e.Name())
		info, err := e.Info()
		if !ok || err != nil {
			continue
		}
		if meta.Created == 0 { // the oldest segment comes first
			meta.Created = micros / 1000
			g.Created = time.UnixMicro(micros)
		}
		g.Size += max(0, info.Size()-int64(len(segmentHeader)))
	}
	return g, nil
}

// CreateGroup makes a log group. Errors: Conflict when it exists.
func (l *Logs) CreateGroup(ctx context.Context, project, group string, tags map[string]string) error {
	const op = "create log group"
	n := groupOf(project, group)
	if !n.valid() {
		return hansom.Errorf(hansom.Invalid, op, "%.80q is not the name of a log group", group)
	}
	return l.change(ctx, func() error {
		l.flush(0)
		if _, err := l.stat(n); hansom.KindOf(err) != hansom.NotFound {
			if err != nil {
				return err
			}
			return hansom.Errorf(hansom.Conflict, op, "The specified log group already exists")
		}
		return internal(op, l.makeFolder(n, metadata{Kept: true, Tags: tags}))
	})
}

// DeleteGroup removes a log group with all that is in it. It comes back with the next line. Errors: NotFound.
func (l *Logs) DeleteGroup(ctx context.Context, project, group string) error {
	const op = "delete log group"
	n := groupOf(project, group)
	return l.change(ctx, func() error {
		l.flush(0)
		if _, err := l.stat(n); err != nil {
			return err
		}
		if s := l.group(n, false); s != nil {
			s.disk.Lock()
			defer s.disk.Unlock()
			l.release(s)
			s.segments, s.loaded = nil, false
			l.forget(s)
		}
		dir := filepath.Join(l.dir, n.project)
		gone, err := os.MkdirTemp(dir, ".old-") // gone in one step; what a crash leaves of it, the sweep removes
		if err == nil {
			err = os.Rename(filepath.Join(dir, n.folder()), filepath.Join(gone, "group"))
		}
		if err != nil {
			return internal(op, err)
		}
		return internal(op, os.RemoveAll(gone))
	})
}

// SetRetention sets how many days lines of a log group are kept; 0 means the server's age limit. Errors: NotFound.
func (l *Logs) SetRetention(ctx context.Context, project, group string, days int) error {
	return l.amend(ctx, project, group, func(m *metadata) error { m.Retention = days; return nil })
}

// Tag lets f change the tags of a log group, which are not nil. Errors: NotFound, and those of f.
func (l *Logs) Tag(ctx context.Context, project, group string, f func(tags map[string]string) error) error {
	return l.amend(ctx, project, group, func(m *metadata) error {
		if m.Tags == nil {
			m.Tags = map[string]string{}
		}
		return f(m.Tags)
	})
}

// amend changes the metadata of a group, which is kept from then on.
func (l *Logs) amend(ctx context.Context, project, group string, f func(*metadata) error) error {
	const op = "change log group"
	n := groupOf(project, group)
	return l.change(ctx, func() error {
		l.flush(0)
		g, err := l.stat(n)
		if err != nil {
			return err
		}
		dir := filepath.Join(l.dir, n.project, n.folder())
		meta, err := readMetadata(dir)
		if err != nil {
			return internal(op, err)
		}
		meta.Name, meta.Created, meta.Kept = g.Name, g.Created.UnixMilli(), true
		if err := f(&meta); err != nil {
			return err
		}
		if err := writeMetadata(dir, meta); err != nil {
			return internal(op, err)
		}
		if s := l.group(n, false); s != nil {
			s.disk.Lock()
			s.age = l.age(meta)
			s.disk.Unlock()
		}
		return nil
	})
}

// change runs f on the goroutine that writes, and returns its error.
func (l *Logs) change(ctx context.Context, f func() error) error {
	var err error
	if failed := l.do(ctx, func() { err = f() }); failed != nil {
		return failed
	}
	return err
}

func internal(op string, err error) error {
	if err == nil || hansom.KindOf(err) != hansom.Internal {
		return err
	}
	return hansom.Errorf(hansom.Internal, op, "%w", err)
}
