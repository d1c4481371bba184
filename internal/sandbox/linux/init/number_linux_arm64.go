package main

const (
	sysSeccomp      = 277
	sysSchedSetattr = 274
)
