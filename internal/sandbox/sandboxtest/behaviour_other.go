//go:build !linux

package sandboxtest

import "errors"

// isolated shows the behaviours that look at isolation, which only the linux driver has.
func isolated(b Behaviour, _ []string) int {
	return failed(errors.New("no such behaviour here: " + string(b)))
}

func callsWanted() map[string]string { return nil }
