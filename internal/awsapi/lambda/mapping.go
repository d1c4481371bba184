package lambda

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/function/tagging"
)

type mappingConfiguration struct {
	UUID                           string
	BatchSize                      int
	MaximumBatchingWindowInSeconds int
	EventSourceArn                 string
	FilterCriteria                 *filterCriteria `json:",omitempty"`
	FunctionArn                    string
	LastModified                   json.Number // seconds since 1970
	LastProcessingResult           string      `json:",omitempty"`
	State                          string
	StateTransitionReason          string
	FunctionResponseTypes          []string
	ScalingConfig                  *scalingConfig `json:",omitempty"`
	MetricsConfig                  *metricsConfig `json:",omitempty"`
	EventSourceMappingArn          string
}

type (
	filterCriteria struct{ Filters []filter }
	filter         struct{ Pattern string }
	scalingConfig  struct{ MaximumConcurrency int }
	metricsConfig  struct{ Metrics []string }
)

const reportBatchItemFailures = "ReportBatchItemFailures"

func mappingOf(m *event.Mapping) mappingConfiguration {
	c := mappingConfiguration{UUID: m.ID, BatchSize: m.Batch, MaximumBatchingWindowInSeconds: int(m.Window / time.Second), EventSourceArn: m.Source,
		FunctionArn: m.FunctionARN, LastModified: json.Number(fmt.Sprintf("%.3f", float64(m.Modified.UnixMilli())/1000)), LastProcessingResult: m.Problem,
		State: m.State, StateTransitionReason: "USER_INITIATED", FunctionResponseTypes: []string{}, EventSourceMappingArn: m.ARN}
	if m.Partial {
		c.FunctionResponseTypes = []string{reportBatchItemFailures}
	}
	if len(m.Filters) > 0 {
		c.FilterCriteria = &filterCriteria{}
		for _, p := range m.Filters {
			c.FilterCriteria.Filters = append(c.FilterCriteria.Filters, filter{p.String()})
		}
	}
	if m.Concurrency > 0 {
		c.ScalingConfig = &scalingConfig{m.Concurrency}
	}
	if len(m.Metrics) > 0 {
		c.MetricsConfig = &metricsConfig{m.Metrics}
	}
	return c
}

// foreign are members of other event sources than queues and subjects.
var foreign = []string{"DestinationConfig", "ParallelizationFactor", "MaximumRecordAgeInSeconds", "BisectBatchOnFunctionError", "MaximumRetryAttempts",
	"TumblingWindowInSeconds", "SourceAccessConfigurations", "DocumentDBEventSourceConfig", "AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig"}

// mappingInput is what CreateEventSourceMapping and UpdateEventSourceMapping are told. Members that a queue does not have are refused.
func (c *call) mappingInput() (in event.Input, err error) {
	if err := refuse(c.op.Name, c.in, "SelfManagedEventSource", "Topics", "Queues", "KMSKeyArn", "LoggingConfig", "ProvisionedPollerConfig"); err != nil {
		return in, err
	}
	in = event.Input{Source: c.in.text("EventSourceArn"), Function: c.function, Qualifier: c.qualifier, Enabled: c.in.boolPtr("Enabled"),
		Batch: c.in.integerPtr("BatchSize"), Window: c.in.integerPtr("MaximumBatchingWindowInSeconds"), Tags: c.in.textMap("Tags")}
	if in.Source == "" && c.op.Name != "UpdateEventSourceMapping" || in.Source != "" && !strings.Contains(in.Source, ":sqs:") && !strings.Contains(in.Source, ":nats:") {
		return in, nil // which is refused for that
	}
	for _, name := range foreign {
		if meaningful(c.in[name], name) != "" {
			return in, hansom.Errorf(hansom.Invalid, c.op.Name, "Unsupported %s parameter for given event source mapping type.", name)
		}
	}
	if c.in["StartingPosition"] != nil || c.in["StartingPositionTimestamp"] != nil {
		return in, hansom.Errorf(hansom.Invalid, c.op.Name, "Unsupported starting position for arn type: %s", in.Source)
	}
	if types := c.in.texts("FunctionResponseTypes"); types != nil {
		partial := len(types) > 0
		in.Partial = &partial
	}
	if scaling := c.in.sub("ScalingConfig"); scaling != nil {
		n := scaling.integer("MaximumConcurrency")
		in.Concurrency = &n
	}
	if metrics := c.in.sub("MetricsConfig"); metrics != nil {
		in.Metrics = append([]string{}, metrics.texts("Metrics")...)
	}
	if criteria := c.in.sub("FilterCriteria"); criteria != nil {
		in.Filters = []string{}
		list, _ := criteria["Filters"].([]any)
		for _, x := range list {
			p, _ := x.(params)
			in.Filters = append(in.Filters, p.text("Pattern")) // one that is missing is no pattern
		}
	}
	return in, tagging.Check(in.Tags)
}

func (s *Service) createMapping(c *call) (any, error) {
	in, err := c.mappingInput()
	if err != nil {
		return nil, err
	}
	m, err := s.mappings.Create(c.Context(), c.project, in)
	return mapping(&m, err)
}

func (s *Service) getMapping(c *call) (any, error) {
	m, err := s.mappings.Get(c.project, c.in.text("UUID"))
	return mapping(&m, err)
}

func (s *Service) updateMapping(c *call) (any, error) {
	in, err := c.mappingInput()
	if err != nil {
		return nil, err
	}
	m, err := s.mappings.Update(c.Context(), c.project, c.in.text("UUID"), in)
	return mapping(&m, err)
}

func (s *Service) deleteMapping(c *call) (any, error) {
	m, err := s.mappings.Delete(c.Context(), c.project, c.in.text("UUID"))
	return mapping(&m, err)
}

func mapping(m *event.Mapping, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return mappingOf(m), nil
}

func (s *Service) listMappings(c *call) (any, error) {
	arn := ""
	if c.function != "" {
		arn = hansom.FunctionARN(s.cfg.Region, c.project, c.function, c.qualifier)
	}
	list, next, err := s.mappings.List(c.project, c.in.text("EventSourceArn"), arn, c.in.text("Marker"), c.in.integer("MaxItems"))
	if err != nil {
		return nil, err
	}
	out := struct {
		EventSourceMappings []mappingConfiguration
		NextMarker          string `json:",omitempty"`
	}{make([]mappingConfiguration, len(list)), next}
	for i := range list {
		out.EventSourceMappings[i] = mappingOf(&list[i])
	}
	return out, nil
}
