// Package layers lists, publishes and removes layers over the Lambda API.
package layers

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/build"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

// Call sends a request to the Lambda API, in as its JSON body (nil: none), and decodes the answer into out (nil: ignored).
type Call func(ctx context.Context, method, path string, in, out any) error

// Version of a layer.
type Version struct {
	Name        string    `json:"name"`
	Number      int64     `json:"version"`
	ARN         string    `json:"arn"`
	Description string    `json:"description"`
	Runtimes    []string  `json:"runtimes"`
	Created     time.Time `json:"created"`
	Size        int64     `json:"size,omitempty"`   // bytes of the zip; lists leave it out, as the next
	SHA256      string    `json:"sha256,omitempty"` // of the zip, hex
}

// String is name:version, as hansom.yaml names it.
func (v Version) String() string { return v.Name + ":" + strconv.FormatInt(v.Number, 10) }

// answer is a version as the Lambda API spells it.
type answer struct {
	LayerVersionArn    string
	Version            int64
	Description        string
	CreatedDate        string
	CompatibleRuntimes []string
	Content            struct {
		CodeSize   int64
		CodeSha256 string // base64
	}
}

func (a *answer) version(name string) (Version, error) {
	created, err := time.Parse("2006-01-02T15:04:05.000-0700", a.CreatedDate)
	if err != nil {
		return Version{}, fmt.Errorf("the server's answer has the time %q", a.CreatedDate)
	}
	sum, err := base64.StdEncoding.DecodeString(a.Content.CodeSha256)
	if err != nil {
		return Version{}, fmt.Errorf("the server's answer has the digest %q", a.Content.CodeSha256)
	}
	return Version{name, a.Version, a.LayerVersionArn, a.Description, append([]string{}, a.CompatibleRuntimes...), created, a.Content.CodeSize, hex.EncodeToString(sum)}, nil
}

func path(name string) string { return "/2018-10-31/layers/" + url.PathEscape(name) + "/versions" }

// List returns the latest version of every layer by name; with a name, the versions of that layer, the latest first.
func List(ctx context.Context, call Call, name string) ([]Version, error) {
	list := []Version{}
	add := func(a *answer, name string) error {
		v, err := a.version(name)
		list = append(list, v)
		return err
	}
	at := "/2018-10-31/layers"
	if name != "" {
		at = path(name)
	}
	for marker := ""; ; {
		var page struct {
			NextMarker string
			Layers     []struct {
				LayerName             string
				LatestMatchingVersion answer
			}
			LayerVersions []answer
		}
		if err := call(ctx, "GET", at+"?Marker="+url.QueryEscape(marker), nil, &page); err != nil {
			return nil, err
		}
		for i := range page.Layers {
			if err := add(&page.Layers[i].LatestMatchingVersion, page.Layers[i].LayerName); err != nil {
				return nil, err
			}
		}
		for i := range page.LayerVersions {
			if err := add(&page.LayerVersions[i], name); err != nil {
				return nil, err
			}
		}
		if marker = page.NextMarker; marker == "" {
			return list, nil
		}
	}
}

// get reads one version, with its content.
func get(ctx context.Context, call Call, name string, number int64) (Version, error) {
	var a answer
	if err := call(ctx, "GET", path(name)+"/"+strconv.FormatInt(number, 10), nil, &a); err != nil {
		return Version{}, err
	}
	return a.version(name)
}

// Remove removes a version. One that is not there is an error of call.
func Remove(ctx context.Context, call Call, name string, number int64) error {
	if _, err := get(ctx, call, name, number); err != nil {
		return err
	}
	return call(ctx, "DELETE", path(name)+"/"+strconv.FormatInt(number, 10), nil, nil)
}

// Publication is what a version is published with.
type Publication struct {
	Name, Description, License string
	Runtimes                   []string
}

// Publish packs the folder src, or takes a zip as it is, and publishes it unless the latest version has the same content: then
// it answers with that one, and fresh is false.
func Publish(ctx context.Context, call Call, p Publication, src string, progress func(format string, args ...any)) (v Version, fresh bool, err error) {
	work, err := os.MkdirTemp("", "hansom-layer-")
	if err != nil {
		return Version{}, false, err
	}
	defer os.RemoveAll(work)
	progress("packing %s", p.Name)
	defer progress("")
	a, err := build.Layer(filepath.Join(work, "layer.zip"), src)
	if err != nil {
		return Version{}, false, err
	}
	if a.Size > hansom.MaxZipInline {
		return Version{}, false, fmt.Errorf("the layer has %d MB as a zip; %d are allowed: leave out what functions do not need", a.Size>>20, hansom.MaxZipInline>>20)
	}
	var page struct{ LayerVersions []answer }
	if err := call(ctx, "GET", path(p.Name)+"?MaxItems=1", nil, &page); err != nil {
		return Version{}, false, err
	}
	if len(page.LayerVersions) > 0 {
		v, err := get(ctx, call, p.Name, page.LayerVersions[0].Version)
		if err != nil || v.SHA256 == a.Digest {
			return v, false, err
		}
	}
	zip, err := os.ReadFile(a.Path)
	if err != nil {
		return Version{}, false, err
	}
	progress("uploading %s (%s)", p.Name, terminal.Bytes(a.Size))
	var made answer
	err = call(ctx, "POST", path(p.Name), map[string]any{"Content": map[string]any{"ZipFile": zip}, "Description": p.Description, "LicenseInfo": p.License,
		"CompatibleRuntimes": append([]string{}, p.Runtimes...)}, &made)
	if err != nil {
		return Version{}, false, err
	}
	v, err = made.version(p.Name)
	return v, true, err
}
