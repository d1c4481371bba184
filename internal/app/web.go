package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// Web knows what answers the web requests of apps.
type Web interface {
	// Routes of a manifest, by their keys: words and values, the first of which say what answers. One with an empty word stands for all that no
	// other tells. Errors: Invalid.
	Routes(project string, r *manifest.Resolved) (map[string][][2]string, error)
	// Owner says why an app cannot have a host, such as "an API has it"; "" when it can. Hosts of other apps are none of its business.
	Owner(host string) string
}

// planWeb compares the routes, authorizers, CORS and domains of manifests, and looks for whom else the domains belong to. current is
// nil when there is none.
func (s *Service) planWeb(ctx context.Context, q db.Querier, project string, current, next *manifest.Resolved) ([]Change, error) {
	if _, err := s.Web.Routes(project, next); err != nil {
		return nil, err
	}
	if len(next.Domains) > 0 {
		apps, err := list(ctx, q, "")
		if err != nil {
			return nil, err
		}
		for _, host := range next.Domains {
			if err := s.checkDomain(project, next.Name, host, apps); err != nil {
				return nil, err
			}
		}
	}
	return s.webChanges(project, current, next), nil
}

func (s *Service) checkDomain(project, app, host string, apps []App) error {
	why := s.Web.Owner(host)
	for _, a := range apps {
		switch {
		case !slices.Contains(a.Manifest.Domains, host) || a.Project == project && a.Name == app:
		case a.Project == project:
			why = "the app " + a.Name + " has it"
		default:
			why = "an app of another project has it"
		}
	}
	if why != "" {
		return hansom.Errorf(hansom.Conflict, "plan app", "the domain %s cannot be the app's: %s", host, why)
	}
	return nil
}

// webChanges compares without looking at others. What of a stored manifest is not understood any more counts as not there.
func (s *Service) webChanges(project string, current, next *manifest.Resolved) []Change {
	if current == nil {
		current = &manifest.Resolved{}
	}
	out := slices.Concat(
		diffMaps(KindAuthorizer, current.Authorizers, next.Authorizers, describeAuthorizer, jsonDifferences[manifest.ResolvedAuthorizer]),
		diffMaps(KindCORS, corsMap(current.CORS), corsMap(next.CORS), func(c manifest.ResolvedCORS) []string { return []string{strings.Join(c.Origins, ",")} }, jsonDifferences[manifest.ResolvedCORS]),
		diffMaps(KindDomain, keysOfList(current.Domains), keysOfList(next.Domains), func(bool) []string { return nil }, func(_, _ bool) []string { return nil }),
	)
	have, _ := s.routes(project, current)
	want, _ := s.routes(project, next)
	return append(out, diffMaps(KindRoute, have, want, describeRoute, routeDifferences)...)
}

func (s *Service) routes(project string, r *manifest.Resolved) (map[string][][2]string, error) {
	if r.Name == "" {
		return nil, nil
	}
	return s.Web.Routes(project, r)
}

// diffMaps lists what is made, changed, removed and left alone.
func diffMaps[T any](kind string, have, want map[string]T, describe func(T) []string, differences func(old, want T) []string) []Change {
	var out []Change
	for name, w := range want {
		c := Change{Kind: kind, Name: name, Action: Create, Details: describe(w)}
		if old, ok := have[name]; ok {
			c.Action, c.Details = Unchanged, differences(old, w)
			if len(c.Details) > 0 {
				c.Action = Update
			}
		}
		out = append(out, c)
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			out = append(out, Change{Kind: kind, Name: name, Action: Delete})
		}
	}
	return out
}

func corsMap(c *manifest.ResolvedCORS) map[string]manifest.ResolvedCORS {
	if c == nil {
		return nil
	}
	return map[string]manifest.ResolvedCORS{"cors": *c}
}

func keysOfList(list []string) map[string]bool {
	out := map[string]bool{}
	for _, s := range list {
		out[s] = true
	}
	return out
}

func describeAuthorizer(a manifest.ResolvedAuthorizer) []string {
	switch {
	case a.JWT != nil:
		return []string{"jwt of " + a.JWT.Issuer}
	case a.Function != "":
		return []string{"function " + a.Function}
	}
	return []string{"iam"}
}

// jsonDifferences names the members that differ.
func jsonDifferences[T any](old, want T) []string {
	a, b := membersOf(old), membersOf(want)
	var out []string
	for name, v := range b {
		if string(a[name]) != string(v) {
			out = append(out, name)
		}
	}
	for name := range a {
		if _, ok := b[name]; !ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func membersOf(v any) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if text, err := json.Marshal(v); err == nil {
		_ = json.Unmarshal(text, &out) // it is an object
	}
	return out
}

func describeRoute(settings [][2]string) []string {
	var out []string
	for i, s := range settings {
		switch {
		case i == 0:
			out = append(out, cmp.Or(s[1], s[0]))
		case s[0] != "":
			out = append(out, s[0]+" "+s[1])
		}
	}
	return out
}

// routeDifferences names what differs in a route.
func routeDifferences(old, want [][2]string) []string {
	var out []string
	value := func(list [][2]string, word string) string {
		for _, s := range list {
			if s[0] == word {
				return s[1]
			}
		}
		return "none"
	}
	if old[0] != want[0] {
		to := want[0][1]
		if old[0][0] != want[0][0] {
			to = want[0][0] + " " + to
		}
		out = append(out, fmt.Sprintf("%s %s -> %s", old[0][0], old[0][1], to))
	}
	words := []string{}
	for _, s := range slices.Concat(old[1:], want[1:]) {
		if s[0] != "" && !slices.Contains(words, s[0]) {
			words = append(words, s[0])
		}
	}
	for _, word := range words {
		if a, b := value(old[1:], word), value(want[1:], word); a != b {
			out = append(out, word+" "+a+" -> "+b)
		}
	}
	if len(out) == 0 && value(old, "") != value(want, "") {
		out = append(out, "integration")
	}
	return out
}
