package runtimes

import (
	"slices"
	"strings"
)

// What interpreters and the C library read once, when they boot: names, and prefixes that end in an underscore or are PYTHON.
var (
	readAtBoot = map[Family][]string{
		Node: {"LD_", "LC_", "GLIBC_", "MALLOC_", "OPENSSL_", "GCONV_PATH", "LOCPATH", // of the C library and OpenSSL
			"LANG", "ICU_DATA", "UV_THREADPOOL_SIZE", "UV_USE_IO_URING", "NODE_"},
		Python: {"LD_", "LC_", "GLIBC_", "MALLOC_", "OPENSSL_", "GCONV_PATH", "LOCPATH", "LANG", "PYTHON"},
	}
	// readLater begin like the above, but are read when they are needed, or by programs.
	readLater = []string{"NODE_ENV", "NODE_PATH", "NODE_TLS_REJECT_UNAUTHORIZED", "NODE_CONFIG", "NODE_CONFIG_DIR", "NODE_CONFIG_ENV", "NODE_APP_INSTANCE"}
)

// Blank is what a runtime finds in its environment when it boots before its function is known: it has time to prepare, and takes the
// variable away.
const Blank = "HANSOM_BLANK=1"

// Late says whether the runtime can boot before its function is known: it takes a function's environment with INIT then, and is
// what it were had it booted with it.
func (r *Runtime) Late(environment map[string]string) bool {
	if !r.Frames || environment[Wrapper] != "" {
		return false
	}
	for name := range environment {
		if slices.Contains(readLater, name) {
			continue
		}
		for _, fixed := range readAtBoot[r.Family] {
			if name == fixed || (strings.HasSuffix(fixed, "_") || fixed == "PYTHON") && strings.HasPrefix(name, fixed) {
				return false
			}
		}
	}
	return true
}
