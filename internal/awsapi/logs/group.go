package logs

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

// Limits of CloudWatch Logs.
const (
	maxTags      = 50
	describePage = 50
)

var retentions = []int64{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func (s *Service) createLogGroup(c *call) (any, error) {
	name := c.in.Text("logGroupName")
	switch class := c.in.Text("logGroupClass"); {
	case strings.HasPrefix(name, "aws/"):
		return nil, c.invalid("Log groups starting with AWS/ are reserved for AWS.")
	case c.in.Text("kmsKeyId") != "":
		return nil, unsupported(c.op, "kmsKeyId")
	case class != "" && class != "STANDARD":
		return nil, unsupported(c.op, "The log group class "+class)
	case c.in.Flag("deletionProtectionEnabled"):
		return nil, unsupported(c.op, "deletionProtectionEnabled")
	}
	return nil, s.logs.CreateGroup(c, c.project, name, tagsOf(c))
}

func (s *Service) deleteLogGroup(c *call) (any, error) {
	return nil, s.logs.DeleteGroup(c, c.project, c.in.Text("logGroupName"))
}

type logGroup struct {
	LogGroupName      string `json:"logGroupName"`
	CreationTime      int64  `json:"creationTime"`
	RetentionInDays   int    `json:"retentionInDays,omitempty"`
	MetricFilterCount int    `json:"metricFilterCount"`
	ARN               string `json:"arn"`
	StoredBytes       int64  `json:"storedBytes"`
	LogGroupClass     string `json:"logGroupClass"`
	LogGroupARN       string `json:"logGroupArn"`
}

func (s *Service) describeLogGroups(c *call) (any, error) {
	prefix, part := c.in.Text("logGroupNamePrefix"), c.in.Text("logGroupNamePattern")
	if prefix != "" && part != "" {
		return nil, c.invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	var wanted []string
	for _, identifier := range c.in.Texts("logGroupIdentifiers") {
		name, err := s.named(c, identifier)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, name)
	}
	class, accounts := c.in.Text("logGroupClass"), c.in.Texts("accountIdentifiers")
	groups, err := s.logs.Groups(c, c.project)
	if err != nil {
		return nil, err
	}
	groups = slices.DeleteFunc(groups, func(g telemetry.Group) bool {
		return !strings.HasPrefix(g.Name, prefix) || !strings.Contains(g.Name, part) || wanted != nil && !slices.Contains(wanted, g.Name) ||
			class != "" && class != "STANDARD" || accounts != nil && !slices.Contains(accounts, c.project)
	})
	groups, next, err := paged(c, groups, func(g telemetry.Group, after []string) bool { return g.Name > after[0] }, func(g telemetry.Group) []string { return []string{g.Name} })
	if err != nil {
		return nil, err
	}
	out := struct {
		LogGroups []logGroup `json:"logGroups"`
		NextToken string     `json:"nextToken,omitempty"`
	}{[]logGroup{}, next}
	for _, g := range groups {
		arn := s.groupARN(c.project, g.Name)
		out.LogGroups = append(out.LogGroups, logGroup{g.Name, millis(g.Created), g.Retention, 0, arn + ":*", g.Size, "STANDARD", arn})
	}
	return out, nil
}

// paged cuts a page out of a list: what is behind the place that the token names, at most limit. key is the place of an element.
func paged[T any](c *call, list []T, behind func(x T, after []string) bool, key func(T) []string) (page []T, next string, err error) {
	if token := c.in.Text("nextToken"); token != "" {
		after, err := readToken(c, token, len(key(*new(T))))
		if err != nil {
			return nil, "", err
		}
		i := slices.IndexFunc(list, func(x T) bool { return behind(x, after) })
		if i < 0 {
			i = len(list)
		}
		list = list[i:]
	}
	limit := int(c.in.Integer("limit"))
	if limit == 0 {
		limit = describePage
	}
	if len(list) > limit {
		list = list[:limit]
		next = writeToken(key(list[limit-1])...)
	}
	return list, next, nil
}

func writeToken(parts ...string) string {
	text, _ := json.Marshal(parts) // strings always encode
	return base64.RawURLEncoding.EncodeToString(text)
}

// readToken reads a token of n parts.
func readToken(c *call, token string, n int) ([]string, error) {
	var parts []string
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(text, &parts)
	}
	if err != nil || len(parts) != n {
		return nil, c.invalid("The specified nextToken is invalid.")
	}
	return parts, nil
}

func (s *Service) putRetentionPolicy(c *call) (any, error) {
	days := c.in.Integer("retentionInDays")
	if !slices.Contains(retentions, days) {
		var values []string
		for _, d := range retentions {
			values = append(values, strconv.FormatInt(d, 10))
		}
		return nil, c.invalid("1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [%s]", days, strings.Join(values, ", "))
	}
	return nil, s.logs.SetRetention(c, c.project, c.in.Text("logGroupName"), int(days))
}

func (s *Service) deleteRetentionPolicy(c *call) (any, error) {
	return nil, s.logs.SetRetention(c, c.project, c.in.Text("logGroupName"), 0)
}

func tagsOf(c *call) map[string]string {
	in, _ := c.in["tags"].(map[string]any)
	tags := make(map[string]string, len(in))
	for k, v := range in {
		tags[k], _ = v.(string)
	}
	return tags
}

func (s *Service) listTags(c *call) (any, error) {
	name, err := s.group(c)
	if err != nil {
		return nil, err
	}
	g, err := s.logs.Group(c, c.project, name)
	if err != nil {
		return nil, err
	}
	tags := g.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{"tags": tags}, nil
}

func (s *Service) tag(c *call) (any, error) {
	name, err := s.group(c)
	if err != nil {
		return nil, err
	}
	return nil, s.logs.Tag(c, c.project, name, func(tags map[string]string) error {
		for k, v := range tagsOf(c) {
			tags[k] = v
		}
		if len(tags) > maxTags {
			return hansom.Errorf(hansom.Invalid, c.op, "A log group may have at most %d tags.", maxTags).WithCode("TooManyTagsException")
		}
		return nil
	})
}

func (s *Service) untag(c *call) (any, error) {
	name, err := s.group(c)
	if err != nil {
		return nil, err
	}
	return nil, s.logs.Tag(c, c.project, name, func(tags map[string]string) error {
		for _, k := range append(c.in.Texts("tagKeys"), c.in.Texts("tags")...) {
			delete(tags, k)
		}
		return nil
	})
}
