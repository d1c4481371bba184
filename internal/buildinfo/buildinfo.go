// Package buildinfo tells which build of Hansom this is. The Makefile sets the values at link time.
package buildinfo

import (
	"runtime/debug"
	"sync"
)

var version, commit string

// Info of the running binary.
type Info struct {
	Version string `json:"version"` // "dev" for a plain go build
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// Read returns the build's information; a binary built by plain `go build` reports the commit Go recorded.
var Read = sync.OnceValue(func() Info {
	info := Info{Version: version, Commit: commit}
	if bi, ok := debug.ReadBuildInfo(); ok {
		info.Go = bi.GoVersion
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" && info.Commit == "" {
				info.Commit = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	if info.Version == "" {
		info.Version = "dev"
	}
	if info.Commit == "" {
		info.Commit = "unknown"
	}
	return info
})
