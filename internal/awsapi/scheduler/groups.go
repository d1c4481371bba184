package scheduler

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/schedule"
)

type (
	group struct {
		ARN                  string       `json:"Arn"`
		CreationDate         *json.Number `json:",omitempty"`
		LastModificationDate *json.Number `json:",omitempty"`
		Name                 string
		State                string
	}
	tag struct{ Key, Value string }
)

func groupOf(g *schedule.Group) group {
	return group{g.ARN(), seconds(g.Created), seconds(g.Modified), g.Name, g.State}
}

// tagsOf are the Tags of a request.
func tagsOf(in model.Params) map[string]string {
	tags := map[string]string{}
	list, _ := in["Tags"].([]any)
	for _, x := range list {
		p, _ := x.(model.Params)
		tags[p.Text("Key")] = p.Text("Value")
	}
	return tags
}

func (s *Service) createGroup(c *call) (any, error) {
	g, err := s.schedules.CreateGroup(c, c.in.Text("ClientToken"), c.project, c.in.Text("Name"), tagsOf(c.in))
	if err != nil {
		return nil, err
	}
	return struct {
		ScheduleGroupARN string `json:"ScheduleGroupArn"`
	}{g.ARN()}, nil
}

func (s *Service) getGroup(c *call) (any, error) {
	g, err := s.schedules.Group(c, c.project, c.in.Text("Name"))
	if err != nil {
		return nil, err
	}
	return groupOf(g), nil
}

func (s *Service) deleteGroup(c *call) (any, error) {
	return nil, s.schedules.DeleteGroup(c, c.in.Text("ClientToken"), c.project, c.in.Text("Name"))
}

func (s *Service) listGroups(c *call) (any, error) {
	after, err := c.after()
	if err != nil {
		return nil, err
	}
	list, err := s.schedules.Groups(c, c.project, c.in.Text("NamePrefix"), after)
	if err != nil {
		return nil, err
	}
	list, next := cut(list, c.limit(), func(g *schedule.Group) string { return g.Name })
	out := struct {
		NextToken      string `json:",omitempty"`
		ScheduleGroups []group
	}{next, make([]group, len(list))}
	for i, g := range list {
		out.ScheduleGroups[i] = groupOf(g)
	}
	return out, nil
}

// tagged is the name of the group that ResourceArn names, whose form the model has checked. Error: ResourceNotFoundException.
func (s *Service) tagged(c *call) (string, error) {
	resource := c.in.Text("ResourceArn")
	_, name, _ := strings.Cut(resource, "schedule-group/")
	if resource != schedule.GroupARN(s.region, c.project, name) {
		return "", hansom.Errorf(hansom.NotFound, c.op, "Schedule group %s does not exist.", resource)
	}
	return name, nil
}

func (s *Service) tagResource(c *call) (any, error) {
	name, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	return nil, s.schedules.Tag(c, c.project, name, tagsOf(c.in), nil)
}

func (s *Service) untagResource(c *call) (any, error) {
	name, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	return nil, s.schedules.Tag(c, c.project, name, nil, c.in.Texts("TagKeys"))
}

func (s *Service) listTagsForResource(c *call) (any, error) {
	name, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	g, err := s.schedules.Group(c, c.project, name)
	if err != nil {
		return nil, err
	}
	out := struct{ Tags []tag }{[]tag{}}
	for _, key := range slices.Sorted(maps.Keys(g.Tags)) {
		out.Tags = append(out.Tags, tag{key, g.Tags[key]})
	}
	return out, nil
}
