package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Layer packs the folder src, whose files are shown at /opt, into the zip dst, or takes a zip as it is. The same content gives
// the same zip.
func Layer(dst, src string) (Artifact, error) {
	info, err := os.Stat(src)
	switch {
	case err != nil:
		return Artifact{}, err
	case info.IsDir():
		dir, err := filepath.Abs(src)
		if err != nil {
			return Artifact{}, err
		}
		entries, err := (&Builder{dir: dir}).folderEntries(dir, nil)
		if err == nil && len(entries) == 0 {
			err = fmt.Errorf("%s has no files", src)
		}
		if err != nil {
			return Artifact{}, err
		}
		p, err := (*pack)(nil).write(dst, entries)
		if err != nil {
			return Artifact{}, err
		}
		return p.Artifact, nil
	case strings.EqualFold(filepath.Ext(src), ".zip"):
		return zipArtifact(src)
	}
	return Artifact{}, fmt.Errorf("%s is neither a folder nor a zip; a layer is what is to be seen at /opt", src)
}
