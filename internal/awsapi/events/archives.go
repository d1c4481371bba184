package events

import (
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/eventbus/archive"
)

// archiveState is that of each archive: it works as soon as it is made.
const archiveState = "ENABLED"

type archiveAnswer struct {
	ARN            string `json:"ArchiveArn,omitempty"`
	Name           string `json:"ArchiveName,omitempty"`
	EventSourceARN string `json:"EventSourceArn,omitempty"`
	Description    string `json:",omitempty"`
	EventPattern   string `json:",omitempty"`
	State          string
	RetentionDays  *int   `json:",omitempty"`
	SizeBytes      *int64 `json:",omitempty"`
	EventCount     *int64 `json:",omitempty"`
	CreationTime   *float64
}

// changed is an archive as CreateArchive and UpdateArchive show it.
func changed(a *archive.Archive, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return archiveAnswer{ARN: a.ARN(), State: archiveState, CreationTime: seconds(a.Created)}, nil
}

// listedArchive is an archive as lists show it.
func listedArchive(a *archive.Archive) archiveAnswer {
	return archiveAnswer{Name: a.Name, EventSourceARN: eventbus.BusARN(a.Region, a.Project, a.Bus), State: archiveState, RetentionDays: &a.Retention, SizeBytes: &a.Bytes,
		EventCount: &a.Events, CreationTime: seconds(a.Created)}
}

func (c *call) archiveInput() (in archive.Input, err error) {
	if text, ok := c.in["Description"].(string); ok {
		in.Description = &text
	}
	if text, ok := c.in["EventPattern"].(string); ok {
		in.Pattern = &text
	}
	if n, ok := c.in["RetentionDays"].(int64); ok {
		days := int(n)
		in.Retention = &days
	}
	return in, c.absent("KmsKeyIdentifier")
}

func (s *Service) createArchive(c *call) (any, error) {
	in, err := c.archiveInput()
	if err != nil {
		return nil, err
	}
	return changed(s.Archives.Create(c, c.project, c.in.Text("ArchiveName"), c.in.Text("EventSourceArn"), in))
}

func (s *Service) updateArchive(c *call) (any, error) {
	in, err := c.archiveInput()
	if err != nil {
		return nil, err
	}
	return changed(s.Archives.Update(c, c.project, c.in.Text("ArchiveName"), in))
}

func (s *Service) deleteArchive(c *call) (any, error) {
	return nil, s.Archives.Delete(c, c.project, c.in.Text("ArchiveName"))
}

func (s *Service) describeArchive(c *call) (any, error) {
	a, err := s.Archives.Get(c, c.project, c.in.Text("ArchiveName"))
	if err != nil {
		return nil, err
	}
	out := listedArchive(a)
	out.ARN, out.Description = a.ARN(), a.Description
	if a.Pattern != nil {
		out.EventPattern = a.Pattern.String()
	}
	return out, nil
}

// oneFilter refuses a list that is asked for with more than one filter.
func (c *call) oneFilter() error {
	n := 0
	for _, name := range []string{"NamePrefix", "EventSourceArn", "State"} {
		if c.in.Text(name) != "" {
			n++
		}
	}
	if n > 1 {
		return invalid("At most one filter is allowed for %s. Use either : State, EventSourceArn, or NamePrefix.", c.op)
	}
	return nil
}

func (s *Service) listArchives(c *call) (any, error) {
	if err := c.oneFilter(); err != nil {
		return nil, err
	}
	list, err := s.Archives.List(c, c.project, c.in.Text("NamePrefix"), c.in.Text("EventSourceArn"))
	if err != nil {
		return nil, err
	}
	if state := c.in.Text("State"); state != "" && state != archiveState {
		list = nil
	}
	return paged(c, "Archives", list, func(a *archive.Archive) string { return a.Name }, listedArchive)
}

type destination struct {
	ARN        string   `json:"Arn"`
	FilterARNs []string `json:"FilterArns,omitempty"`
}

type replay struct {
	ARN                   string `json:"ReplayArn,omitempty"`
	Name                  string `json:"ReplayName,omitempty"`
	Description           string `json:",omitempty"`
	State                 string
	StateReason           string       `json:",omitempty"`
	EventSourceARN        string       `json:"EventSourceArn,omitempty"`
	Destination           *destination `json:",omitempty"`
	EventStartTime        *float64     `json:",omitempty"`
	EventEndTime          *float64     `json:",omitempty"`
	EventLastReplayedTime *float64     `json:",omitempty"`
	ReplayStartTime       *float64     `json:",omitempty"`
	ReplayEndTime         *float64     `json:",omitempty"`
}

// listedReplay is a replay as lists show it.
func listedReplay(r *archive.Replay) replay {
	return replay{Name: r.Name, State: r.State, StateReason: r.Reason, EventSourceARN: eventbus.ARN(r.Region, r.Project, "archive/"+r.Archive),
		EventStartTime: seconds(r.Since), EventEndTime: seconds(r.Until), EventLastReplayedTime: seconds(r.Last), ReplayStartTime: seconds(r.Started), ReplayEndTime: seconds(r.Ended)}
}

func (s *Service) startReplay(c *call) (any, error) {
	to, _ := c.in["Destination"].(model.Params)
	r, err := s.Archives.Start(c, c.project, archive.ReplayInput{
		Name: c.in.Text("ReplayName"), Description: c.in.Text("Description"), Source: c.in.Text("EventSourceArn"), Destination: to.Text("Arn"), Filters: to.Texts("FilterArns"),
		Since: timeOf(c.in, "EventStartTime"), Until: timeOf(c.in, "EventEndTime"),
	})
	if err != nil {
		return nil, err
	}
	return replay{ARN: r.ARN(), State: r.State, ReplayStartTime: seconds(r.Started)}, nil
}

func (s *Service) cancelReplay(c *call) (any, error) {
	r, err := s.Archives.Cancel(c, c.project, c.in.Text("ReplayName"))
	if err != nil {
		return nil, err
	}
	return replay{ARN: r.ARN(), State: r.State}, nil
}

func (s *Service) describeReplay(c *call) (any, error) {
	r, err := s.Archives.Replay(c, c.project, c.in.Text("ReplayName"))
	if err != nil {
		return nil, err
	}
	out := listedReplay(r)
	out.ARN, out.Description, out.Destination = r.ARN(), r.Description, &destination{eventbus.BusARN(r.Region, r.Project, r.Bus), r.Filters}
	return out, nil
}

func (s *Service) listReplays(c *call) (any, error) {
	if err := c.oneFilter(); err != nil {
		return nil, err
	}
	list, err := s.Archives.Replays(c, c.project, c.in.Text("NamePrefix"), c.in.Text("State"), c.in.Text("EventSourceArn"))
	if err != nil {
		return nil, err
	}
	return paged(c, "Replays", list, func(r *archive.Replay) string { return r.Name }, listedReplay)
}
