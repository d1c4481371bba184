// Package cgroup limits what sandboxes use, with control groups of version 2, or of version 1 where that is what the host has.
package cgroup
