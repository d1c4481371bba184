//go:build !linux

package main

import (
	"context"
	"errors"
)

func connected() error                       { return errors.New("it takes Linux") }
func apart(context.Context, ...string) error { return errors.ErrUnsupported }
func outside() error                         { return errors.ErrUnsupported }
func filters() (tables, elements int)        { return 0, 0 }
