//go:build !linux

package load

import (
	"errors"
	"time"
)

// Open is there on Linux only.
func Open(string, []byte, int, float64, time.Duration, func() []int) (Sample, error) {
	return Sample{}, errors.New("load at fixed rates needs Linux")
}
