package apigateway

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/usage"
)

type apiKey struct {
	CreatedDate     int64             `json:"createdDate"`
	Description     string            `json:"description,omitempty"`
	Enabled         bool              `json:"enabled"`
	ID              string            `json:"id"`
	LastUpdatedDate int64             `json:"lastUpdatedDate"`
	Name            string            `json:"name,omitempty"`
	StageKeys       []string          `json:"stageKeys"`
	Tags            map[string]string `json:"tags,omitempty"`
	Value           string            `json:"value,omitempty"`
}

func shownKey(k *api.Key) any {
	return apiKey{k.Created.Unix(), k.Description, k.Enabled, k.ID, k.Updated.Unix(), k.Name, []string{}, k.Tags, k.Value}
}

func (s *Service) createKey(c *call) (any, error) {
	if list, _ := c.in["stageKeys"].([]any); len(list) > 0 {
		return nil, unsupported("stageKeys are not supported by this server, as they are deprecated on AWS: use usage plans.")
	}
	if c.in.Text("customerId") != "" {
		return nil, unsupported("customerId is not supported by this server: it is for AWS Marketplace.")
	}
	k, err := s.usage.CreateKey(c, api.Key{Project: c.project, Name: c.in.Text("name"), Description: c.in.Text("description"), Enabled: c.in.Flag("enabled"),
		Value: c.in.Text("value"), Tags: pairs(c.in, "tags")})
	if err != nil {
		return nil, err
	}
	return shownKey(k), nil
}

func (s *Service) getKey(c *call) (any, error) {
	k, err := s.usage.APIKey(c, c.project, c.in.Text("apiKey"), c.in.Flag("includeValue"))
	if err != nil {
		return nil, err
	}
	return shownKey(k), nil
}

func (s *Service) getKeys(c *call) (any, error) {
	if c.in.Text("customerId") != "" {
		return nil, unsupported("customerId is not supported by this server: it is for AWS Marketplace.")
	}
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	list, err := s.usage.APIKeys(c, c.project, usage.KeyFilter{Name: c.in.Text("nameQuery"), After: after, Limit: limit + 1, Values: c.in.Flag("includeValues")})
	if err != nil {
		return nil, err
	}
	return paged(list, limit, func(k *api.Key) string { return k.ID }, shownKey), nil
}

// patch is an operation of an update, whose path is cut at its slashes.
type patch struct {
	op, path, value string
	parts           []string
}

// patches are the operations of an update.
func patches(in model.Params) (list []patch) {
	raw, _ := in["patchOperations"].([]any)
	for _, x := range raw {
		p, _ := x.(model.Params)
		out := patch{op: p.Text("op"), path: p.Text("path"), value: p.Text("value")}
		for part := range strings.SplitSeq(strings.TrimPrefix(out.path, "/"), "/") {
			out.parts = append(out.parts, strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~"))
		}
		list = append(list, out)
	}
	return list
}

// wrong refuses an operation, and names the paths that can be changed.
func (p *patch) wrong(paths ...string) error {
	return invalid("Invalid patch path  '%.200s' specified for op '%.64s'. Must be one of: [%s]", p.path, p.op, strings.Join(paths, ", "))
}

// is tells whether p is one of the operations at a path.
func (p *patch) is(path string, ops ...string) bool {
	return p.path == path && slices.Contains(ops, p.op)
}

func (s *Service) updateKey(c *call) (any, error) {
	k, err := s.usage.UpdateKey(c, c.project, c.in.Text("apiKey"), func(k *api.Key) (err error) {
		for _, p := range patches(c.in) {
			switch {
			case p.is("/name", "replace"):
				k.Name = p.value
			case p.is("/description", "replace"):
				k.Description = p.value
			case p.is("/enabled", "replace"):
				if k.Enabled, err = strconv.ParseBool(p.value); err != nil {
					return invalid("Invalid value %.64q for /enabled. Must be one of: [true, false]", p.value)
				}
			default:
				return p.wrong("/description", "/enabled", "/name")
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return shownKey(k), nil
}

func (s *Service) deleteKey(c *call) (any, error) {
	return nil, s.usage.DeleteKey(c, c.project, c.in.Text("apiKey"))
}

func (s *Service) importKeys(c *call) (any, error) {
	body, _ := c.in["body"].([]byte)
	keys, err := parseKeys(body)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		keys[i].Project = c.project
	}
	ids, warnings, err := s.usage.ImportKeys(c, keys, c.in.Flag("failOnWarnings"))
	if err != nil {
		return nil, err
	}
	return struct {
		IDs      []string `json:"ids"`
		Warnings []string `json:"warnings"`
	}{ids, warnings}, nil
}

// parseKeys reads API keys from a file with a line of headings, in any case and order: name, key, description, enabled, usageplanIds. Name and key must be there.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/api-key-file-format.html
func parseKeys(text []byte) ([]usage.Imported, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	r.TrimLeadingSpace = true
	head, err := r.Read()
	if err != nil {
		return nil, invalid("Invalid API key file: it has no line of headings.")
	}
	column := map[string]int{}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := column[name]; twice || !slices.Contains([]string{"name", "key", "description", "enabled", "usageplanids"}, name) {
			return nil, invalid("Invalid API key file: the heading %.64q is not one of name, key, description, enabled and usageplanIds, or is there twice.", name)
		}
		column[name] = i
	}
	for _, name := range []string{"name", "key"} {
		if _, ok := column[name]; !ok {
			return nil, invalid("Invalid API key file: the heading %s is missing.", name)
		}
	}
	keys := []usage.Imported{}
	for {
		line, err := r.Read()
		if errors.Is(err, io.EOF) {
			return keys, nil
		}
		if err != nil {
			return nil, invalid("Invalid API key file: %v", err)
		}
		cell := func(name string) string {
			if i, ok := column[name]; ok {
				return strings.TrimSpace(line[i])
			}
			return ""
		}
		k := usage.Imported{Key: api.Key{Name: cell("name"), Value: cell("key"), Description: cell("description"), Enabled: true}}
		if k.Value == "" {
			return nil, invalid("Invalid API key file: the key of %.200q is missing.", k.Name)
		}
		if v := cell("enabled"); v != "" {
			if k.Enabled, err = strconv.ParseBool(strings.ToLower(v)); err != nil {
				return nil, invalid("Invalid API key file: enabled is TRUE or FALSE, not %.64q.", v)
			}
		}
		for plan := range strings.SplitSeq(cell("usageplanids"), ",") {
			if plan = strings.TrimSpace(plan); plan != "" {
				k.Plans = append(k.Plans, plan)
			}
		}
		keys = append(keys, k)
	}
}
