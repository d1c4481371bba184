package eventbus

import (
	"context"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// tagged is the bus or the rule that an ARN names; the rule is "" for a bus. Error: ResourceNotFoundException.
func (s *Service) tagged(project, text string) (bus, rule string, err error) {
	arn, err := hansom.ParseARN(text)
	kind, name, _ := strings.Cut(arn.Resource, "/")
	if err != nil || arn.Service != "events" || arn.Account != project || arn.Region != s.cfg.Region || name == "" {
		return "", "", invalid("Parameter ResourceARN is not valid. Reason: %s is not the ARN of an event bus or a rule of this account and region.", text)
	}
	switch kind {
	case "event-bus":
		return name, "", nil
	case "rule":
		if bus, rule, ok := strings.Cut(name, "/"); ok {
			return bus, rule, nil
		}
		return DefaultBus, name, nil
	}
	return "", "", invalid("Parameter ResourceARN is not valid. Reason: event buses and rules have tags, and %s is neither.", text)
}

// Tags of a bus or a rule, by its ARN. Errors: ResourceNotFoundException, ValidationException.
func (s *Service) Tags(project, arn string) (map[string]string, error) {
	bus, rule, err := s.tagged(project, arn)
	if err != nil {
		return nil, err
	}
	if rule == "" {
		b, err := s.Bus(project, bus)
		if err != nil {
			return nil, err
		}
		return b.Tags, nil
	}
	r, err := s.Rule(project, bus, rule)
	if err != nil {
		return nil, err
	}
	return r.Tags, nil
}

// Tag adds tags to a bus or a rule, or gives those that it has another value. Errors: ResourceNotFoundException, ValidationException.
func (s *Service) Tag(ctx context.Context, project, arn string, tags map[string]string) error {
	return s.changeTags(ctx, project, arn, func(old map[string]string) { maps.Copy(old, tags) })
}

// Untag takes tags from a bus or a rule. Errors: ResourceNotFoundException, ValidationException.
func (s *Service) Untag(ctx context.Context, project, arn string, keys []string) error {
	return s.changeTags(ctx, project, arn, func(old map[string]string) {
		for _, k := range keys {
			delete(old, k)
		}
	})
}

func (s *Service) changeTags(ctx context.Context, project, arn string, f func(map[string]string)) error {
	bus, rule, err := s.tagged(project, arn)
	if err != nil {
		return err
	}
	change := func(tags *map[string]string) error {
		if *tags == nil {
			*tags = map[string]string{}
		}
		f(*tags)
		return checkTags(*tags)
	}
	if rule == "" {
		_, err := s.changeBus(ctx, project, bus, func(b *Bus) error { return change(&b.Tags) })
		return err
	}
	return s.changeRule(ctx, project, bus, rule, func(_ *db.Tx, r *Rule) error { return change(&r.Tags) })
}

func checkTags(tags map[string]string) error {
	for k, v := range tags {
		switch {
		case k == "" || utf8.RuneCountInString(k) > 128 || utf8.RuneCountInString(v) > 256:
			return invalid("Tag keys have 1 to 128 characters, and tag values at most 256.")
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return invalid("Tag keys cannot begin with aws:, which is reserved.")
		}
	}
	if len(tags) > MaxTags {
		return fail(hansom.Invalid, "LimitExceededException", "The requested resource exceeds the maximum number allowed: it has at most %d tags.", MaxTags)
	}
	return nil
}
