// Package telemetry keeps what functions log and counts what the platform does.
package telemetry
