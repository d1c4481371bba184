package main

const (
	sysSeccomp      = 317
	sysSchedSetattr = 314
)
