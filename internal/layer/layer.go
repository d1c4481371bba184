// Package layer keeps the versions of layers and who may use them. Their zips are packages of package artifact.
package layer

import (
	"context"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/policy"
)

// domain names this package's tables and migrations.
const domain = "layer"

//go:embed migrations/*.sql
var embedded embed.FS

// Config of a Service.
type Config struct {
	Region string // stands in every ARN
	Now    func() time.Time
}

// DefaultConfig uses the default region.
func DefaultConfig() Config { return Config{Region: hansom.DefaultRegion, Now: time.Now} }

// Version of a layer. It never changes but for its policy.
type Version struct {
	Project       string
	Region        string
	Name          string
	Number        int64 // 1, 2, ...; never used twice
	SHA256        string
	Size          int64 // bytes of the zip
	Description   string
	License       string
	Runtimes      []string // nil when none were given
	Architectures []string // nil when none were given
	Created       time.Time

	statements policy.Statements
	revisionID string
}

// ARN of the version.
func (v *Version) ARN() string { return hansom.LayerARN(v.Region, v.Project, v.Name, v.Number) }

// LayerARN is the ARN of the layer.
func (v *Version) LayerARN() string { return hansom.LayerARN(v.Region, v.Project, v.Name, 0) }

// CodeSha256 is the digest of the zip as the Lambda API reports it, in base64.
func (v *Version) CodeSha256() string {
	b, err := hex.DecodeString(v.SHA256)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(b)
}

// PublishInput describes a new version.
type PublishInput struct {
	Name          string // up to 140 letters, digits, - and _
	Zip           []byte // at most hansom.MaxZipInline
	Description   string
	License       string
	Runtimes      []string
	Architectures []string
}

// Filter picks versions that say they go with a runtime and an architecture; "" stands for any.
type Filter struct{ Runtime, Architecture string }

func (f Filter) accepts(v *Version) bool {
	return (f.Runtime == "" || slices.Contains(v.Runtimes, f.Runtime)) && (f.Architecture == "" || slices.Contains(v.Architectures, f.Architecture))
}

// Page asks for part of a list. Marker is what the page before returned as next, "" for the first page.
type Page struct {
	Marker string
	Max    int // 0 means MaxPage; more is cut down to it
}

// MaxPage is the most entries a page holds, as AWS has it.
const MaxPage = 50

// Service holds the layers of all projects. Its methods may be called from several goroutines. Errors are *hansom.Error with
// the Lambda API's wording.
//
// A method that takes a project acts in that project. Reading another project's layer needs a statement of its policy: caller is
// the project that asks.
type Service struct {
	cfg       Config
	db        *db.DB
	artifacts *artifact.Store
	newID     func() string
}

// New migrates the tables.
func New(ctx context.Context, cfg Config, database *db.DB, artifacts *artifact.Store) (*Service, error) {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "open layers", "%w", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, db: database, artifacts: artifacts, newID: hansom.NewID}, nil
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,140}$`)

// Publish makes a version of a layer, also of a content that an earlier version has. Errors: Invalid for the zip, TooLarge.
func (s *Service) Publish(ctx context.Context, project string, in PublishInput) (Version, error) {
	const op = "publish layer"
	switch {
	case !namePattern.MatchString(in.Name):
		return Version{}, hansom.Errorf(hansom.Invalid, op, "the layer name %q is not 1 to 140 letters, digits, - or _", in.Name)
	case len(in.Zip) == 0:
		return Version{}, hansom.Errorf(hansom.Invalid, op, "Please provide a source for layer content.")
	case len(in.Zip) > hansom.MaxZipInline:
		return Version{}, hansom.Errorf(hansom.TooLarge, op, "The zip has %d bytes; %d are allowed. Leave out what the layer does not need.",
			len(in.Zip), hansom.MaxZipInline)
	}
	v := Version{Project: project, Region: s.cfg.Region, Name: in.Name, SHA256: artifact.Digest(in.Zip), Size: int64(len(in.Zip)),
		Description: in.Description, License: in.License, Runtimes: in.Runtimes, Architectures: in.Architectures,
		Created: s.cfg.Now().UTC().Truncate(time.Microsecond), revisionID: s.newID()}
	defer s.artifacts.Hold(project, v.SHA256)()
	if err := s.artifacts.Put(ctx, project, in.Zip, true); err != nil {
		return Version{}, err
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		err := tx.QueryRowContext(ctx, `INSERT INTO layer_numbers (project, name, last) VALUES (?, ?, 1)
			ON CONFLICT (project, name) DO UPDATE SET last = layer_numbers.last + 1 RETURNING last`, project, in.Name).Scan(&v.Number)
		if err != nil {
			return failed(op, err)
		}
		return s.insert(ctx, tx, &v)
	})
	return v, err
}

// Get reads a version. Errors: NotFound, Invalid for a number below 1, Denied.
func (s *Service) Get(ctx context.Context, caller, project, name string, number int64) (Version, error) {
	if number < 1 {
		return Version{}, tooLow()
	}
	v, ok, err := s.find(ctx, s.db.Read(), project, name, number)
	if err != nil {
		return Version{}, err
	}
	if caller != project && !(ok && v.allows(caller)) {
		return Version{}, denied(caller, hansom.LayerARN(s.cfg.Region, project, name, number))
	}
	if !ok {
		return Version{}, hansom.Errorf(hansom.NotFound, "find layer", "The resource you requested does not exist.")
	}
	return v, nil
}

func tooLow() error {
	return hansom.Errorf(hansom.Invalid, "find layer", "Layer Version Cannot be less than 1.")
}

func denied(caller, arn string) error {
	return hansom.Errorf(hansom.Denied, "use layer", "User: arn:aws:iam::%s:root is not authorized to perform: lambda:GetLayerVersion on resource: %s "+
		"because no resource-based policy allows the lambda:GetLayerVersion action", caller, arn)
}

// Resolve returns the version that an ARN names, for a function of project. Errors: Invalid when it is not there or in another
// region; Denied when it is another project's and not shared with this one.
func (s *Service) Resolve(ctx context.Context, q db.Querier, project, versionARN string) (hansom.Layer, error) {
	missing := hansom.Errorf(hansom.Invalid, "find layer", "Layer version %s does not exist.", versionARN)
	owner, name, number, ok := ParseARN(versionARN, "")
	if !ok {
		return hansom.Layer{}, missing
	}
	if _, _, _, here := ParseARN(versionARN, s.cfg.Region); !here {
		if owner != project {
			return hansom.Layer{}, denied(project, versionARN)
		}
		return hansom.Layer{}, hansom.Errorf(hansom.Invalid, "find layer", "Layers are not in the same region as the function. "+
			"Layers are expected to be in region %s.", s.cfg.Region)
	}
	v, ok, err := s.find(ctx, q, owner, name, number)
	switch {
	case err != nil:
		return hansom.Layer{}, err
	case owner != project && !(ok && v.allows(project)):
		return hansom.Layer{}, denied(project, versionARN)
	case !ok:
		return hansom.Layer{}, missing
	}
	return hansom.Layer{ARN: v.ARN(), SHA256: v.SHA256, Size: v.Size}, nil
}

// ParseARN takes the ARN of a version of a layer apart. It must be of the region, unless that is "".
func ParseARN(versionARN, region string) (project, name string, number int64, ok bool) {
	arn, err := hansom.ParseARN(versionARN)
	if err != nil || arn.Account == "" || region != "" && arn.Region != region {
		return "", "", 0, false
	}
	rest, ok := strings.CutPrefix(arn.Resource, "layer:")
	name, text, _ := strings.Cut(rest, ":")
	number, err = strconv.ParseInt(text, 10, 64)
	return arn.Account, name, number, ok && err == nil && number > 0
}

// Delete removes a version. Functions that use it go on. One that is not there is no error. Errors: Invalid for a number below 1.
func (s *Service) Delete(ctx context.Context, project, name string, number int64) error {
	if number < 1 {
		return tooLow()
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM layer_versions WHERE project = ? AND name = ? AND number = ?`, project, name, number)
		if err != nil {
			return failed("delete layer", err)
		}
		return nil
	})
}

// List lists the layers of a project by name, of each the latest version that f accepts. Errors: Invalid for a marker that is not
// from here.
func (s *Service) List(ctx context.Context, project string, f Filter, page Page) (list []Version, next string, err error) {
	var after string
	limit, err := page.open(&after)
	if err != nil {
		return nil, "", err
	}
	versions, err := s.versions(ctx, s.db.Read(), `WHERE project = ? AND name > ? ORDER BY name, number DESC`, project, after)
	if err != nil {
		return nil, "", err
	}
	for i := range versions {
		v := &versions[i]
		if !f.accepts(v) || len(list) > 0 && list[len(list)-1].Name == v.Name {
			continue
		}
		if len(list) == limit {
			return list, marker(list[limit-1].Name), nil
		}
		list = append(list, *v)
	}
	return list, "", nil
}

// ListVersions lists the versions of a layer that f accepts, the latest first; none of a layer that is not there.
// Errors: Invalid for a marker that is not from here.
func (s *Service) ListVersions(ctx context.Context, project, name string, f Filter, page Page) (list []Version, next string, err error) {
	before := int64(1) << 62
	limit, err := page.open(&before)
	if err != nil {
		return nil, "", err
	}
	versions, err := s.versions(ctx, s.db.Read(), `WHERE project = ? AND name = ? AND number < ? ORDER BY number DESC`, project, name, before)
	if err != nil {
		return nil, "", err
	}
	for i := range versions {
		if !f.accepts(&versions[i]) {
			continue
		}
		if len(list) == limit {
			return list, marker(list[limit-1].Number), nil
		}
		list = append(list, versions[i])
	}
	return list, "", nil
}

// References marks the packages of all versions.
func (s *Service) References(ctx context.Context, q db.Querier, refs *artifact.References) error {
	versions, err := s.versions(ctx, q, "")
	for i := range versions {
		refs.Package(versions[i].Project, versions[i].SHA256)
	}
	return err
}

var markerEncoding = base64.RawURLEncoding

// marker makes an opaque marker of a value that open reads.
func marker(after any) string {
	b, err := json.Marshal(after)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return markerEncoding.EncodeToString(b)
}

// open returns how many entries the page has, and reads its marker into after.
func (p Page) open(after any) (limit int, err error) {
	limit = MaxPage
	if p.Max > 0 {
		limit = min(p.Max, MaxPage)
	}
	if p.Marker == "" {
		return limit, nil
	}
	b, err := markerEncoding.DecodeString(p.Marker)
	if err == nil {
		err = json.Unmarshal(b, after)
	}
	if err != nil {
		return 0, hansom.Errorf(hansom.Invalid, "read page", "The marker is not valid; pass on the NextMarker of the page before.")
	}
	return limit, nil
}
