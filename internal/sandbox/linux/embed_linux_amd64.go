package linux

import _ "embed"

// initProgram is built by scripts/build-init.sh.
//
//go:embed embed/init-amd64
var initProgram []byte
