package server

import (
	"net/http"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/function"
)

// sessions authenticates, and refuses the session of a function that has been deleted: its token is good for hours.
type sessions struct {
	*auth.Service
	functions *function.Service
}

func (s sessions) Authenticate(r *http.Request) (hansom.Principal, error) {
	p, err := s.Service.Authenticate(r)
	if err != nil || p.Kind != hansom.FunctionSession {
		return p, err
	}
	name := p.Function[strings.LastIndexByte(p.Function, ':')+1:]
	if _, err := s.functions.Resolve(r.Context(), p.Project, name, ""); hansom.KindOf(err) == hansom.NotFound {
		return hansom.Principal{}, hansom.Errorf(hansom.Unauthenticated, "authenticate", "The security token included in the request is invalid.")
	}
	return p, nil
}
