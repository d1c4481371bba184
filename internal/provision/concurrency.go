package provision

import (
	"cmp"
	"context"
	"encoding/base64"
	"math"
	"slices"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// MaxPage is the most entries a page of List holds, as AWS has it.
const MaxPage = 50

// Put asks for n concurrent executions, at least 1, of a version or an alias. Errors: NotFound; Conflict when the version has
// provisioned concurrency by another name; Invalid for $LATEST, for an alias with weights, and for more than there is.
func (s *Service) Put(ctx context.Context, project, function, qualifier string, n int) (Concurrency, error) {
	const op = "provision concurrency"
	var out Concurrency
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		first, second, _, err := s.functions.Route(project, function, qualifier)
		switch {
		case qualifier == hansom.Latest, err == nil && first.Number == hansom.Latest:
			return hansom.Errorf(hansom.Invalid, op, "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
		case err != nil:
			return err
		case second != nil:
			return hansom.Errorf(hansom.Invalid, op, "Alias with weights can not be used with Provisioned Concurrency")
		}
		others, err := s.configs(ctx, tx, `WHERE project = ? AND name = ? AND qualifier <> ?`, project, function, qualifier)
		if err != nil {
			return err
		}
		for _, o := range others {
			if qualifier != first.Number && o.Qualifier == first.Number {
				return hansom.Errorf(hansom.Conflict, op, "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version")
			}
			to, _, _, err := s.functions.Route(project, function, o.Qualifier)
			if err == nil && qualifier == first.Number && to.Number == qualifier {
				return hansom.Errorf(hansom.Conflict, op, "Version is pointed by a Provisioned Concurrency alias")
			}
		}
		out = Concurrency{Project: project, Function: function, Qualifier: qualifier, Requested: n, Modified: s.now().UTC()}
		if err := s.fits(ctx, tx, &out); err != nil {
			return err
		}
		return save(ctx, tx, &out)
	})
	s.forgive(project, function)
	out.Status, out.ARN = InProgress, hansom.FunctionARN(s.cfg.Region, project, function, qualifier)
	return out, err
}

// Keep asks for n concurrent executions of $LATEST of an app's function, of none when n is 0, within the caller's transaction.
// Errors: Invalid for more than there is.
func (s *Service) Keep(ctx context.Context, tx *db.Tx, project, function string, n int) error {
	if n == 0 {
		return s.Remove(ctx, tx, project, function, hansom.Latest)
	}
	c := Concurrency{Project: project, Function: function, Qualifier: hansom.Latest, Requested: n, Modified: s.now().UTC()}
	if err := s.fits(ctx, tx, &c); err != nil {
		return err
	}
	return save(ctx, tx, &c)
}

// Kept is what apps ask for in a project, by function, as q has it.
func (s *Service) Kept(ctx context.Context, q db.Querier, project string) (map[string]int, error) {
	list, err := s.configs(ctx, q, `WHERE project = ? AND qualifier = ?`, project, hansom.Latest)
	out := map[string]int{}
	for i := range list {
		out[list[i].Function] = list[i].Requested
	}
	return out, err
}

// fits holds c to the reserved concurrency of its function, or to what the project leaves to functions without.
func (s *Service) fits(ctx context.Context, tx *db.Tx, c *Concurrency) error {
	const op = "provision concurrency"
	list, err := s.configs(ctx, tx, `WHERE project = ?`, c.Project)
	if err != nil {
		return err
	}
	reserved := map[string]int{}
	of := func(function string) int {
		n, ok := reserved[function]
		if !ok {
			n = -1 // a function that is just being made has none
			if target, err := s.functions.Resolve(ctx, c.Project, function, ""); err == nil {
				n = target.Reserved
			}
			reserved[function] = n
		}
		return n
	}
	own, unreserved := c.Requested, 0
	for _, o := range list {
		switch {
		case o.Function == c.Function && o.Qualifier == c.Qualifier:
		case o.Function == c.Function:
			own += o.Requested
		case of(o.Function) < 0:
			unreserved += o.Requested
		}
	}
	left := hansom.MaxConcurrency - s.functions.Reserved(c.Project) - unreserved - own
	switch limit := of(c.Function); {
	case limit >= 0 && own > limit:
		return hansom.Errorf(hansom.Invalid, op, "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
	case limit >= 0:
	case own > hansom.MaxConcurrency:
		return hansom.Errorf(hansom.Invalid, op, "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [%d].", hansom.MaxConcurrency)
	case left < minUnreserved:
		return hansom.Errorf(hansom.Invalid, op, "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", minUnreserved)
	}
	return nil
}

// Get reads the provisioned concurrency of a version or an alias. Errors: NotFound, with CodeNotFound when only the config is not
// there; Invalid for $LATEST.
func (s *Service) Get(ctx context.Context, project, function, qualifier string) (Concurrency, error) {
	if err := s.published(project, function, qualifier); err != nil {
		return Concurrency{}, err
	}
	list, err := s.Of(ctx, project, function)
	if err != nil {
		return Concurrency{}, err
	}
	i := slices.IndexFunc(list, func(c Concurrency) bool { return c.Qualifier == qualifier })
	if i < 0 {
		return Concurrency{}, hansom.Errorf(hansom.NotFound, "get provisioned concurrency", "No Provisioned Concurrency Config found for this function").WithCode(CodeNotFound)
	}
	return list[i], nil
}

// published refuses what is no version or alias that is there.
func (s *Service) published(project, function, qualifier string) error {
	if qualifier == hansom.Latest {
		return hansom.Errorf(hansom.Invalid, "find version", "The function resource provided must be an alias or a published version.")
	}
	_, _, _, err := s.functions.Route(project, function, qualifier)
	return err
}

// Delete ends the provisioned concurrency of a version or an alias. One without is no error. Errors: NotFound; Invalid for $LATEST.
func (s *Service) Delete(ctx context.Context, project, function, qualifier string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if err := s.published(project, function, qualifier); err != nil {
			return err
		}
		return s.Remove(ctx, tx, project, function, qualifier)
	})
}

// List lists the provisioned concurrency of a function's versions and aliases. marker is what the page before returned as next, ""
// for the first; limit is 1 to MaxPage, or 0 for that. What an app asks for $LATEST is left out: the Lambda API has no such thing.
// Errors: NotFound for the function; Invalid for a marker that is not from here.
func (s *Service) List(ctx context.Context, project, function, marker string, limit int) (list []Concurrency, next string, err error) {
	if _, err := s.functions.Resolve(ctx, project, function, ""); err != nil {
		return nil, "", err
	}
	after, err := base64.RawURLEncoding.DecodeString(marker)
	if err != nil {
		return nil, "", hansom.Errorf(hansom.Invalid, "list", "The marker is not valid; pass on the NextMarker of the page before.")
	}
	if list, err = s.Of(ctx, project, function); err != nil {
		return nil, "", err
	}
	list = slices.DeleteFunc(list, func(c Concurrency) bool { return c.Qualifier == hansom.Latest || c.Qualifier <= string(after) })
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	if len(list) > limit {
		list = list[:limit]
		next = base64.RawURLEncoding.EncodeToString([]byte(list[limit-1].Qualifier))
	}
	return list, next, nil
}

// Of lists the provisioned concurrency of a function, of all of a project when function is "", and of everything when both are.
func (s *Service) Of(ctx context.Context, project, function string) ([]Concurrency, error) {
	list, err := s.configs(ctx, s.db.Read(), `WHERE ? IN ('', project) AND ? IN ('', name)`, project, function)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := map[key]int{}
	for i := range list {
		s.state(&list[i], taken)
	}
	return list, nil
}

// share is what a config asks of one version.
type share struct {
	version *hansom.Version
	n       int // concurrent executions
}

// shares divides what a config asks for between the versions that the qualifier stands for, as its calls are divided, rounded up.
// There are none when the function or the qualifier is gone.
func (s *Service) shares(c *Concurrency) []share {
	first, second, weight, err := s.functions.Route(c.Project, c.Function, c.Qualifier)
	if err != nil {
		return nil
	}
	if second == nil {
		return []share{{first, c.Requested}}
	}
	part := func(w float64) int { return int(math.Ceil(float64(c.Requested)*w - 1e-9)) }
	return []share{{first, part(1 - weight)}, {second, part(weight)}}
}

// state fills in how far the config is. What instances are ready is given to configs in their order: taken is what those before
// have. s.mu is held.
func (s *Service) state(c *Concurrency, taken map[key]int) {
	c.Status = Ready
	shares := s.shares(c)
	if len(shares) == 0 {
		c.Status = InProgress
	}
	for _, sh := range shares {
		k := keyOf(sh.version)
		state := s.kept[k]
		if state == nil {
			state = &kept{} // Run has not seen it yet
		}
		ready, _, _ := s.pool.Provisioned(sh.version)
		slots := sh.version.Slots()
		available := min(max(ready*slots-taken[k], 0), sh.n)
		allocated := min(max((ready+state.booting)*slots-taken[k], 0), sh.n)
		taken[k] += sh.n
		c.Available, c.Allocated = min(c.Available+available, c.Requested), min(c.Allocated+allocated, c.Requested)
		switch {
		case available == sh.n:
		case cmp.Or(state.reason, state.short) != "":
			c.Status, c.Reason = Failed, cmp.Or(state.reason, state.short)
		case c.Status == Ready:
			c.Status = InProgress
		}
	}
}
