package linux

import _ "embed"

// initProgram is built by scripts/build-init.sh.
//
//go:embed embed/init-arm64
var initProgram []byte
