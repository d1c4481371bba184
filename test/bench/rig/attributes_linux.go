package rig

import "syscall"

// attributes of started programs: a group of their own, and no life after the benchmark's.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
