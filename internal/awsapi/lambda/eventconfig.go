package lambda

import (
	"github.com/hansomcloud/hansom/internal/function/events"
)

type eventConfig struct {
	LastModified             float64 // seconds since 1970
	FunctionArn              string
	MaximumRetryAttempts     *int `json:",omitempty"`
	MaximumEventAgeInSeconds *int `json:",omitempty"`
	DestinationConfig        destinationConfig
}

type (
	destinationConfig struct{ OnSuccess, OnFailure destination }
	destination       struct {
		Destination string `json:",omitempty"`
	}
)

func eventConfigOf(c *events.Config) eventConfig {
	return eventConfig{float64(c.Modified.UnixMilli()) / 1000, c.ARN, c.Retries, c.MaxAge, destinationConfig{destination{c.OnSuccess}, destination{c.OnFailure}}}
}

func (c *call) eventConfigInput() events.Input {
	in := events.Input{Retries: c.in.integerPtr("MaximumRetryAttempts"), MaxAge: c.in.integerPtr("MaximumEventAgeInSeconds")}
	if d := c.in.sub("DestinationConfig"); d != nil {
		in.Destinations = &events.Destinations{OnSuccess: d.sub("OnSuccess").text("Destination"), OnFailure: d.sub("OnFailure").text("Destination")}
	}
	return in
}

func (s *Service) putEventConfig(c *call) (any, error) {
	config, err := s.functions.Events().Put(c.Context(), c.project, c.function, c.qualifier, c.eventConfigInput())
	if err != nil {
		return nil, err
	}
	return eventConfigOf(&config), nil
}

func (s *Service) updateEventConfig(c *call) (any, error) {
	config, err := s.functions.Events().Update(c.Context(), c.project, c.function, c.qualifier, c.eventConfigInput())
	if err != nil {
		return nil, err
	}
	return eventConfigOf(&config), nil
}

func (s *Service) getEventConfig(c *call) (any, error) {
	config, err := s.functions.Events().Get(c.Context(), c.project, c.function, c.qualifier)
	if err != nil {
		return nil, err
	}
	return eventConfigOf(&config), nil
}

func (s *Service) deleteEventConfig(c *call) (any, error) {
	return nil, s.functions.Events().Delete(c.Context(), c.project, c.function, c.qualifier)
}

func (s *Service) listEventConfigs(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	list, next, err := s.functions.Events().List(c.Context(), c.project, c.function, c.page())
	if err != nil {
		return nil, err
	}
	out := struct {
		FunctionEventInvokeConfigs []eventConfig
		NextMarker                 string `json:",omitempty"`
	}{make([]eventConfig, len(list)), next}
	for i := range list {
		out.FunctionEventInvokeConfigs[i] = eventConfigOf(&list[i])
	}
	return out, nil
}
