//go:build linux

package main

import (
	"runtime/debug"
	"syscall"
)

// int80 makes a system call of 32-bit programs, whose numbers are others.
func int80(number, a, b, c uint32) int32

func init() {
	try(map[string]func(e *event) error{
		"call the kernel as a 32-bit program": func(*event) (err error) {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			defer func() {
				if recover() != nil { // the kernel was started without such calls
					err = syscall.ENOSYS
				}
			}()
			if n := int80(20, 0, 0, 0); n < 0 { // getpid
				return syscall.Errno(-n)
			}
			return nil
		},
		"call the kernel as an x32 program": func(*event) error { return call(0x40000000 + 39) },
	})
}
