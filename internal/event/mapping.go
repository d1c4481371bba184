package event

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/pattern"
)

// States of a mapping, as the Lambda API spells them.
const (
	StateCreating  = "Creating"
	StateEnabling  = "Enabling"
	StateEnabled   = "Enabled"
	StateUpdating  = "Updating"
	StateDisabling = "Disabling"
	StateDisabled  = "Disabled"
	StateDeleting  = "Deleting"
)

// Limits of the Lambda API.
const (
	MaxPage      = 100 // entries in a page of List
	DefaultBatch = 10  // messages
	smallBatch   = 10  // messages, the most without a window
	maxFilters   = 10
)

// Mapping is an event source mapping.
type Mapping struct {
	ID          string // a UUID
	ARN         string
	Project     string
	App         string // that made it; "" for the Lambda API
	Source      string // ARN of the queue, or of the subject
	Function    string
	Qualifier   string // "" when the function was named without
	FunctionARN string
	Enabled     bool
	Batch       int                // most messages in a batch
	Window      time.Duration      // for more messages after the first; whole seconds
	Concurrency int                // batches at a time; 0 for no limit of its own
	Filters     []*pattern.Pattern // of which a message has to match one; empty lets all through
	Partial     bool               // the function's answer names messages that failed (ReportBatchItemFailures)
	Metrics     []string           // kept and reported
	Tags        map[string]string
	Created     time.Time
	Modified    time.Time

	State   string // of the list of states
	Problem string // why it cannot work, beginning with "PROBLEM: "; "" when all is well
}

// Input is what Create and Update are told; nil leaves AWS's default, or what is there. Function "" leaves it too, for Update.
type Input struct {
	Source              string // of Create
	Function, Qualifier string
	Enabled             *bool
	Batch, Window       *int // messages, seconds
	Concurrency         *int // 0 takes the limit away
	Filters             []string
	Partial             *bool
	Metrics             []string
	Tags                map[string]string // of Create
}

// services are the event sources of AWS that are refused by name.
var services = map[string]string{"kinesis": "Kinesis streams", "dynamodb": "DynamoDB streams", "kafka": "Kafka clusters", "mq": "Amazon MQ brokers", "rds": "DocumentDB clusters"}

// Create makes a mapping. Errors: Invalid; Unsupported for a source other than a queue or a subject; Conflict when there is one of the same queue
// and function.
func (s *Service) Create(ctx context.Context, project string, in Input) (Mapping, error) {
	const op = "create mapping"
	if err := s.checkSource(project, in.Source); err != nil {
		return Mapping{}, err
	}
	now := s.now().UTC()
	m := Mapping{ID: s.newID(), Project: project, Source: in.Source, Function: in.Function, Qualifier: in.Qualifier, Enabled: true, Batch: DefaultBatch,
		Tags: in.Tags, Created: now}
	if err := m.apply(in); err != nil {
		return Mapping{}, err
	}
	if err := s.check(ctx, &m, true); err != nil {
		return Mapping{}, err
	}
	if m.kind() == kindSubject {
		if err := s.Source.Begin(ctx, m.Source, m.ID); err != nil {
			return Mapping{}, err
		}
	}
	begun := m
	m, err := s.write(ctx, m.ID, func(tx *db.Tx) error {
		same, err := s.mappings(ctx, tx, `WHERE project = ? AND source = ? AND name = ? AND qualifier = ?`, project, m.Source, m.Function, m.Qualifier)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			return exists(op, &m, same[0].ID)
		}
		m.Modified = now
		return s.save(ctx, tx, &m)
	})
	if err != nil && begun.kind() == kindSubject {
		_ = s.Source.End(context.WithoutCancel(ctx), begun.Source, begun.ID) // the reason is what counts
	}
	if m.Enabled {
		m.State = StateCreating
	}
	return m, err
}

func exists(op string, m *Mapping, id string) error {
	service := "SQS"
	if m.kind() == kindSubject {
		service = "NATS"
	}
	return hansom.Errorf(hansom.Conflict, op, `An event source mapping with %s arn (" %s ") and function (" %s ") already exists. Please update or delete the existing mapping with UUID %s`,
		service, m.Source, m.Function, id)
}

// Kinds of sources.
const (
	kindQueue   = "queue"
	kindSubject = "subject"
)

// kind of the mapping's source.
func (m *Mapping) kind() string {
	if arn, err := hansom.ParseARN(m.Source); err == nil && arn.Service == "nats" {
		return kindSubject
	}
	return kindQueue
}

// Update changes a mapping. Errors: NotFound, Invalid, Conflict.
func (s *Service) Update(ctx context.Context, project, id string, in Input) (Mapping, error) {
	state := StateUpdating
	m, err := s.write(ctx, id, func(tx *db.Tx) error {
		m, err := s.one(ctx, tx, project, id)
		if err != nil {
			return err
		}
		was := m.Enabled
		if in.Function != "" {
			m.Function, m.Qualifier = in.Function, in.Qualifier
		}
		if err := m.apply(in); err != nil {
			return err
		}
		if err := s.check(ctx, &m, m.Enabled || in.Function != ""); err != nil {
			return err
		}
		same, err := s.mappings(ctx, tx, `WHERE project = ? AND source = ? AND name = ? AND qualifier = ? AND id <> ?`, project, m.Source, m.Function, m.Qualifier, id)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			return exists("update mapping", &m, same[0].ID)
		}
		switch {
		case m.Enabled && !was:
			state = StateEnabling
		case was && !m.Enabled:
			state = StateDisabling
		}
		m.Modified = s.now().UTC()
		return s.save(ctx, tx, &m)
	})
	m.State = state
	return m, err
}

// Delete ends a mapping; batches under way end. Error: NotFound.
func (s *Service) Delete(ctx context.Context, project, id string) (m Mapping, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if m, err = s.one(ctx, tx, project, id); err != nil {
			return err
		}
		return s.remove(ctx, tx, m)
	})
	m.State = StateDeleting
	return m, err
}

// write runs f in a transaction and returns the mapping as it is then.
func (s *Service) write(ctx context.Context, id string, f func(tx *db.Tx) error) (Mapping, error) {
	if err := s.db.Write(ctx, f); err != nil {
		return Mapping{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := s.runners[id]; r != nil {
		return r.view(), nil
	}
	return Mapping{}, notFound() // it was deleted meanwhile
}

func notFound() error {
	return hansom.Errorf(hansom.NotFound, "find mapping", "The resource you requested does not exist.")
}

// Get reads a mapping. Error: NotFound.
func (s *Service) Get(project, id string) (Mapping, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := s.runners[id]; r != nil {
		if m := r.view(); m.Project == project && m.State != "" {
			return m, nil
		}
	}
	return Mapping{}, notFound()
}

// List lists the mappings of a project from the oldest on: of one queue when source is set, of one function when functionARN is. marker
// is what the page before returned as next, "" for the first; limit is 1 to MaxPage, or 0 for that. Error: Invalid for a marker that is
// not from here.
func (s *Service) List(project, source, functionARN, marker string, limit int) (list []Mapping, next string, err error) {
	after, err := base64.RawURLEncoding.DecodeString(marker)
	if err != nil {
		return nil, "", hansom.Errorf(hansom.Invalid, "list mappings", "The marker is not valid; pass on the NextMarker of the page before.")
	}
	position := func(m *Mapping) string { return m.Created.Format("2006-01-02T15:04:05.000000") + m.ID }
	s.mu.RLock()
	for _, r := range s.runners {
		m := r.view()
		if m.Project == project && m.State != "" && (source == "" || m.Source == source) && (functionARN == "" || m.FunctionARN == functionARN) &&
			position(&m) > string(after) {
			list = append(list, m)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b Mapping) int { return strings.Compare(position(&a), position(&b)) })
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	if len(list) > limit {
		list = list[:limit]
		next = base64.RawURLEncoding.EncodeToString([]byte(position(&list[limit-1])))
	}
	return list, next, nil
}

// apply changes what in names.
func (m *Mapping) apply(in Input) error {
	if in.Enabled != nil {
		m.Enabled = *in.Enabled
	}
	if in.Batch != nil {
		m.Batch = *in.Batch
	}
	if in.Window != nil {
		m.Window = time.Duration(*in.Window) * time.Second
	}
	if in.Concurrency != nil {
		m.Concurrency = *in.Concurrency
	}
	if in.Partial != nil {
		m.Partial = *in.Partial
	}
	if in.Metrics != nil {
		m.Metrics = in.Metrics
	}
	if in.Filters == nil {
		return nil
	}
	if len(in.Filters) > maxFilters {
		return hansom.Errorf(hansom.Invalid, "check filters", "A mapping can have at most %d filters.", maxFilters)
	}
	m.Filters = nil
	for _, text := range in.Filters {
		p, err := pattern.Parse(text)
		if err != nil {
			return hansom.Errorf(hansom.Invalid, "check filters", "Invalid filter pattern definition.")
		}
		m.Filters = append(m.Filters, p)
	}
	return nil
}

// checkSource refuses what is no queue and no subject of the project.
func (s *Service) checkSource(project, source string) error {
	const op = "check event source"
	arn, err := hansom.ParseARN(source)
	switch {
	case err != nil:
		return hansom.Errorf(hansom.Invalid, op, "Unrecognized event source.")
	case services[arn.Service] != "":
		return hansom.Errorf(hansom.Unsupported, op, "%s as event sources are not supported by this server. Use a queue of SQS.", services[arn.Service])
	case arn.Service == "nats" && arn.Account == project:
		return nil // Queue looks at the rest
	case arn.Service == "nats":
		return hansom.Errorf(hansom.Invalid, op, "%s belongs to another project.", source)
	case arn.Service != "sqs":
		return hansom.Errorf(hansom.Invalid, op, "Unrecognized event source.")
	case arn.Region != s.cfg.Region:
		return noQueue()
	case arn.Account != project:
		return hansom.Errorf(hansom.Invalid, op, "The provided execution role does not have permissions to call ReceiveMessage on SQS")
	}
	return nil
}

func noQueue() error {
	return hansom.Errorf(hansom.Invalid, "check event source",
		"Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist.")
}

// check holds a mapping to what its function and its queue are. One that is disabled may lack them, unless complete is set.
func (s *Service) check(ctx context.Context, m *Mapping, complete bool) error {
	const op = "check mapping"
	var timeout time.Duration
	target, err := s.Functions.Resolve(ctx, m.Project, m.Function, m.Qualifier)
	switch missing := err != nil && hansom.KindOf(err) == hansom.NotFound; {
	case err == nil:
		timeout = target.Version.Timeout
	case missing && complete:
		return hansom.Errorf(hansom.Invalid, op, "Function does not exist")
	case !missing:
		return err
	}
	fifo, visibility, err := s.Queues.Queue(m.Source)
	switch missing := err != nil && hansom.KindOf(err) == hansom.NotFound; {
	case missing && complete && m.kind() == kindSubject:
		return hansom.Errorf(hansom.Invalid, op, "%w", err)
	case missing && complete:
		return noQueue()
	case missing:
		visibility = timeout
	case err != nil:
		return err
	}
	switch {
	case fifo && m.Window > 0:
		return hansom.Errorf(hansom.Invalid, op, "Batching window is not supported for FIFO queues")
	case m.Batch > smallBatch && m.Window == 0:
		return hansom.Errorf(hansom.Invalid, op, "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
	case visibility < timeout:
		return hansom.Errorf(hansom.Invalid, op, "Queue visibility timeout: %d seconds is less than Function timeout: %d seconds",
			visibility/time.Second, timeout/time.Second)
	}
	return nil
}

// Tag changes the tags of a mapping: those of set are added, those called drop are taken away. The caller has checked them. Errors:
// NotFound; Invalid for more than 50.
func (s *Service) Tag(ctx context.Context, project, id string, set map[string]string, drop []string) error {
	_, err := s.write(ctx, id, func(tx *db.Tx) error {
		m, err := s.one(ctx, tx, project, id)
		if err != nil {
			return err
		}
		if m.Tags == nil {
			m.Tags = map[string]string{}
		}
		for key, value := range set {
			m.Tags[key] = value
		}
		for _, key := range drop {
			delete(m.Tags, key)
		}
		if len(m.Tags) > 50 {
			return hansom.Errorf(hansom.Invalid, "tag mapping", "Number of tags exceeds resource tag limit.")
		}
		return s.save(ctx, tx, &m)
	})
	return err
}
