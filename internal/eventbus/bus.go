package eventbus

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Bus is an event bus at one moment. It must not be changed.
type Bus struct {
	Project, Region, Name string
	Tags                  map[string]string
	Policy                string    // JSON document; "" for none
	Created, Modified     time.Time // zero for a default bus of which nothing was ever set
	BusSettings
}

// BusSettings are what can be changed of a bus.
type BusSettings struct {
	Description string `json:"description,omitempty"`
	DeadLetter  string `json:"deadLetter,omitempty"` // ARN of a queue; kept and shown
}

// ARN of the bus.
func (b *Bus) ARN() string { return BusARN(b.Region, b.Project, b.Name) }

// CreateBus makes a bus. Errors: ValidationException, ResourceAlreadyExistsException, LimitExceededException.
func (s *Service) CreateBus(ctx context.Context, project, name string, settings BusSettings, tags map[string]string) (*Bus, error) {
	if strings.Contains(name, "/") {
		return nil, invalid("Event bus name must not contain '/'.")
	}
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	now := s.cfg.Now().UTC()
	b := &Bus{Project: project, Region: s.cfg.Region, Name: name, Tags: tags, Created: now, Modified: now, BusSettings: settings}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		list, err := s.readBuses(ctx, tx, `WHERE project = ?`, project)
		switch {
		case err != nil:
			return err
		case name == DefaultBus || slices.ContainsFunc(list, func(x *Bus) bool { return x.Name == name }):
			return fail(hansom.Conflict, "ResourceAlreadyExistsException", "Event bus %s already exists.", name)
		case len(list) >= s.cfg.Buses:
			return fail(hansom.Invalid, "LimitExceededException", "The requested resource exceeds the maximum number allowed: a project has at most %d event buses.", s.cfg.Buses)
		}
		return saveBus(ctx, tx, b)
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Bus returns a bus, from memory. Error: ResourceNotFoundException.
func (s *Service) Bus(project, nameOrARN string) (*Bus, error) {
	name, err := s.BusName(project, nameOrARN)
	if err != nil {
		return nil, err
	}
	if b := s.view.bus(project, name); b != nil {
		return b, nil
	}
	if name == DefaultBus {
		return s.untouched(project), nil
	}
	return nil, noBus(name)
}

// untouched is the default bus of a project that has set nothing of it.
func (s *Service) untouched(project string) *Bus {
	return &Bus{Project: project, Region: s.cfg.Region, Name: DefaultBus}
}

// Buses returns the buses of a project whose names begin with prefix, in the order of their names.
func (s *Service) Buses(project, prefix string) []*Bus {
	list := s.view.list(project)
	if !slices.ContainsFunc(list, func(b *Bus) bool { return b.Name == DefaultBus }) {
		list = append(list, s.untouched(project))
	}
	list = slices.DeleteFunc(list, func(b *Bus) bool { return !strings.HasPrefix(b.Name, prefix) })
	slices.SortFunc(list, func(a, b *Bus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// UpdateBus replaces those settings of a bus that f changes. Error: ResourceNotFoundException.
func (s *Service) UpdateBus(ctx context.Context, project, name string, f func(*BusSettings)) (*Bus, error) {
	return s.changeBus(ctx, project, name, func(b *Bus) error {
		f(&b.BusSettings)
		b.Modified = s.cfg.Now().UTC()
		return nil
	})
}

// DeleteBus ends a bus; one that is not there is no error. Error: ValidationException for the default bus and for one that has rules.
func (s *Service) DeleteBus(ctx context.Context, project, name string) error {
	if name == DefaultBus {
		return invalid("Cannot delete event bus default.")
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		rules, err := s.readRules(ctx, tx, `WHERE project = ? AND bus = ?`, project, name)
		if err != nil {
			return err
		}
		if len(rules) > 0 {
			return invalid("Event bus %s can't be deleted since it has rules.", name)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM buses WHERE project = ? AND name = ?`, project, name); err != nil {
			return failed("delete bus", err)
		}
		tx.Changed(domain, project+"/"+name)
		return nil
	})
}

// changeBus has f change a bus, of which the default one is made when it has no row yet.
func (s *Service) changeBus(ctx context.Context, project, nameOrARN string, f func(*Bus) error) (b *Bus, err error) {
	name, err := s.BusName(project, nameOrARN)
	if err != nil {
		return nil, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if b, err = s.oneBus(ctx, tx, project, name); err != nil {
			return err
		}
		if b.Created.IsZero() {
			b.Created = s.cfg.Now().UTC()
			b.Modified = b.Created
		}
		if err := f(b); err != nil {
			return err
		}
		return saveBus(ctx, tx, b)
	})
	return b, err
}

// RemoveProject removes the buses and rules of a project within the caller's transaction.
func (s *Service) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	buses, err := s.readBuses(ctx, tx, `WHERE project = ?`, project)
	if err != nil {
		return err
	}
	rules, err := s.readRules(ctx, tx, `WHERE project = ?`, project)
	for _, r := range rules {
		if err == nil {
			err = s.removeRule(ctx, tx, r)
		}
	}
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM buses WHERE project = ?`, project); err != nil {
		return failed("remove project", err)
	}
	for _, b := range buses {
		tx.Changed(domain, project+"/"+b.Name)
	}
	return nil
}
