package linux

import "golang.org/x/sys/unix"

const archAudit = unix.AUDIT_ARCH_AARCH64

var archAllowed = []uint32{unix.SYS_NEWFSTATAT}

var archRefused []uint32
