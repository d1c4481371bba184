package schedule

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// States of a group.
const (
	Active   = "ACTIVE"
	Deleting = "DELETING"
)

// MaxTags of a group.
const MaxTags = 50

// sweepSize is how many schedules of a deleted group are deleted in one transaction.
const sweepSize = 500

// Group holds schedules. The default one of a project has no dates and no tags.
type Group struct {
	Project, Region, Name string
	State                 string
	Tags                  map[string]string
	Created, Modified     time.Time
}

// GroupARN names a group.
func GroupARN(region, project, name string) string {
	return "arn:aws:scheduler:" + region + ":" + project + ":schedule-group/" + name
}

// ARN of the group.
func (g *Group) ARN() string { return GroupARN(g.Region, g.Project, g.Name) }

// group reads a group. Error: ResourceNotFoundException.
func (s *Service) group(ctx context.Context, q db.Querier, project, name string) (*Group, error) {
	if name == DefaultGroup {
		return &Group{Project: project, Region: s.cfg.Region, Name: name, State: Active}, nil
	}
	list, err := s.readGroups(ctx, q, `WHERE project = ? AND name = ?`, project, name)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, hansom.Errorf(hansom.NotFound, "find schedule group", "Schedule group %s does not exist.", name)
	}
	return list[0], nil
}

// usable refuses a group that no schedule can be added to. Errors: ResourceNotFoundException; ConflictException while it is deleted.
func (s *Service) usable(ctx context.Context, q db.Querier, project, name string) error {
	g, err := s.group(ctx, q, project, name)
	if err == nil && g.State == Deleting {
		return hansom.Errorf(hansom.Conflict, "use schedule group", "Schedule group %s is being deleted.", name)
	}
	return err
}

// own refuses the default group, which is not to be made, changed or deleted.
func own(name string) error {
	if name == DefaultGroup {
		return invalid("This operation cannot be performed on schedule group %s.", name)
	}
	return nil
}

// CreateGroup makes a group. Errors: ValidationException; ConflictException; ServiceQuotaExceededException.
func (s *Service) CreateGroup(ctx context.Context, token, project, name string, tags map[string]string) (*Group, error) {
	g := &Group{Project: project, Region: s.cfg.Region, Name: name, State: Active, Tags: tags}
	return g, s.once(ctx, project, token, []any{"CreateScheduleGroup", name, tags}, func(tx *db.Tx) error {
		if err := own(name); err != nil {
			return err
		}
		if err := checkTags(tags); err != nil {
			return err
		}
		switch _, err := s.group(ctx, tx, project, name); {
		case err == nil:
			return hansom.Errorf(hansom.Conflict, "create schedule group", "Schedule group %s already exists.", name)
		case hansom.KindOf(err) != hansom.NotFound:
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM schedule_groups WHERE project = ?`, project).Scan(&n); err != nil {
			return failed("count schedule groups", err)
		}
		if n >= s.cfg.Groups {
			return hansom.Errorf(hansom.Throttled, "create schedule group", "A project may have %d schedule groups.", s.cfg.Groups).WithCode("ServiceQuotaExceededException")
		}
		g.Created = s.now()
		g.Modified = g.Created
		return saveGroup(ctx, tx, g)
	})
}

// Group returns a group. Error: ResourceNotFoundException.
func (s *Service) Group(ctx context.Context, project, name string) (*Group, error) {
	return s.group(ctx, s.db.Read(), project, name)
}

// Groups returns the groups of a project whose names begin with prefix and come after another name, in the order of their names.
func (s *Service) Groups(ctx context.Context, project, prefix, after string) ([]*Group, error) {
	list, err := s.readGroups(ctx, s.db.Read(), `WHERE project = ?`, project)
	if err != nil {
		return nil, err
	}
	list = append(list, &Group{Project: project, Region: s.cfg.Region, Name: DefaultGroup, State: Active})
	list = slices.DeleteFunc(list, func(g *Group) bool { return !strings.HasPrefix(g.Name, prefix) || g.Name <= after })
	slices.SortFunc(list, func(a, b *Group) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// DeleteGroup begins to delete a group with all its schedules; Run ends it. Errors: ResourceNotFoundException; ValidationException for
// the default group.
func (s *Service) DeleteGroup(ctx context.Context, token, project, name string) error {
	err := s.once(ctx, project, token, []string{"DeleteScheduleGroup", name}, func(tx *db.Tx) error {
		if err := own(name); err != nil {
			return err
		}
		g, err := s.group(ctx, tx, project, name)
		if err != nil {
			return err
		}
		g.State, g.Modified = Deleting, s.now()
		return saveGroup(ctx, tx, g)
	})
	if err == nil {
		select {
		case s.sweep <- struct{}{}:
		default:
		}
	}
	return err
}

// sweepGroups deletes the schedules of groups that are to be deleted, then the groups, until ctx ends.
func (s *Service) sweepGroups(ctx context.Context) error {
	for {
		for again := true; again && ctx.Err() == nil; {
			err := s.db.Write(ctx, func(tx *db.Tx) (err error) {
				again, err = s.sweepGroup(ctx, tx)
				return err
			})
			if err != nil && ctx.Err() == nil {
				s.log.Error("a schedule group could not be deleted; it is tried again with the next one, or after a restart", "error", err)
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.sweep:
		}
	}
}

// sweepGroup takes the deletion of a group one step on; again is false when there is none.
func (s *Service) sweepGroup(ctx context.Context, tx *db.Tx) (again bool, err error) {
	groups, err := s.readGroups(ctx, tx, `WHERE state = ? ORDER BY project, name LIMIT 1`, Deleting)
	if err != nil || len(groups) == 0 {
		return false, err
	}
	g := groups[0]
	list, err := s.read(ctx, tx, `WHERE project = ? AND grp = ? LIMIT ?`, g.Project, g.Name, sweepSize)
	if err != nil {
		return false, err
	}
	if len(list) > 0 {
		return true, s.remove(ctx, tx, list...)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM schedule_groups WHERE project = ? AND name = ?`, g.Project, g.Name); err != nil {
		return false, failed("delete schedule group", err)
	}
	return true, nil
}

// Tag adds tags to a group and takes keys from it. Errors: ResourceNotFoundException; ValidationException.
func (s *Service) Tag(ctx context.Context, project, name string, tags map[string]string, without []string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		g, err := s.group(ctx, tx, project, name)
		if err != nil {
			return err
		}
		if err := own(name); err != nil {
			return err
		}
		if g.Tags == nil {
			g.Tags = map[string]string{}
		}
		maps.Copy(g.Tags, tags)
		for _, key := range without {
			delete(g.Tags, key)
		}
		if err := checkTags(g.Tags); err != nil {
			return err
		}
		g.Modified = s.now()
		return saveGroup(ctx, tx, g)
	})
}

func checkTags(tags map[string]string) error {
	for key := range tags {
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return invalid("Tag keys cannot begin with aws:, which is reserved.")
		}
	}
	if len(tags) > MaxTags {
		return invalid("A schedule group may have %d tags.", MaxTags)
	}
	return nil
}
