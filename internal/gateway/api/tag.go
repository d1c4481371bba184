package api

import (
	"context"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Bounds of tags, in characters.
const (
	maxTagKey   = 128
	maxTagValue = 256
)

// CheckTags holds the tags of a thing to the rules. Error: BadRequestException.
func CheckTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return invalid("Tags must not have more than %d entries.", MaxTags)
	}
	for key, value := range tags {
		switch {
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return invalid("Invalid tag key: %.200q. The prefix aws: is reserved.", key)
		case key == "" || utf8.RuneCountInString(key) > maxTagKey:
			return invalid("Invalid tag key: %.200q. A key has 1 to %d characters.", key, maxTagKey)
		case utf8.RuneCountInString(value) > maxTagValue:
			return invalid("Invalid tag value for the key %q. A value has at most %d characters.", key, maxTagValue)
		}
	}
	return nil
}

// ARN names a resource by its path: /apis/ID, /apis/ID/stages/NAME, /domainnames/NAME.
func (s *Service) ARN(path string) string { return "arn:aws:apigateway:" + s.cfg.Region + "::" + path }

// Tags reads the tags of the resource that an ARN names. Errors: BadRequestException for what is none, NotFoundException.
func (s *Service) Tags(ctx context.Context, project, arn string) (map[string]string, error) {
	r, err := s.tagged(arn)
	if err != nil {
		return nil, err
	}
	if r[0] == "apis" {
		a, err := s.API(ctx, project, r[1])
		if err != nil {
			return nil, err
		}
		if len(r) == 2 {
			return a.Tags, nil
		}
		if st := a.stage(r[3]); st != nil {
			return st.Tags, nil
		}
		return nil, notFound("stage")
	}
	d, err := s.Domain(ctx, project, r[1])
	if err != nil {
		return nil, err
	}
	return d.Tags, nil
}

// Tag adds tags to the resource that an ARN names, and removes those with the keys of removed. Errors: as Tags.
func (s *Service) Tag(ctx context.Context, project, arn string, add map[string]string, removed []string) error {
	r, err := s.tagged(arn)
	if err != nil {
		return err
	}
	if r[0] == "domainnames" {
		_, err := s.UpdateDomain(ctx, project, r[1], func(d *Domain) error { return ChangeTags(&d.Tags, add, removed) })
		return err
	}
	_, err = s.edit(ctx, project, r[1], func(_ *db.Tx, a *API) error {
		if len(r) == 2 {
			return ChangeTags(&a.Tags, add, removed)
		}
		if st := a.stage(r[3]); st != nil {
			return ChangeTags(&st.Tags, add, removed)
		}
		return notFound("stage")
	})
	return err
}

// ChangeTags adds tags, and removes those with the keys of removed. Error: BadRequestException.
func ChangeTags(tags *map[string]string, add map[string]string, removed []string) error {
	next := maps.Clone(*tags)
	if next == nil {
		next = map[string]string{}
	}
	maps.Copy(next, add)
	for _, key := range removed {
		delete(next, key)
	}
	*tags = next
	return CheckTags(next)
}

// tagged takes the path of an ARN apart.
func (s *Service) tagged(arn string) ([]string, error) {
	path, ok := strings.CutPrefix(arn, s.ARN("/"))
	parts := strings.Split(path, "/")
	switch {
	case !ok:
	case len(parts) == 2 && parts[1] != "" && (parts[0] == "apis" || parts[0] == "domainnames"),
		len(parts) == 4 && parts[0] == "apis" && parts[2] == "stages":
		return parts, nil
	case parts[0] == "restapis" || parts[0] == "vpclinks" || parts[0] == "clientcertificates":
		return nil, hansom.Errorf(hansom.Unsupported, "find tags", "Resources of the kind %s are not supported by this server.", parts[0])
	}
	return nil, invalid("Invalid resource ARN specified: %.300s", arn)
}
