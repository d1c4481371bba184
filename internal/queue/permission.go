package queue

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/hansomcloud/hansom"
)

// maxStatements is how many statements AddPermission may make.
const maxStatements = 20

// document is the policy of a queue. Statements are kept as they are.
type document struct {
	Version    string
	ID         string `json:"Id,omitempty"`
	Statements []json.RawMessage
}

func (d *document) index(label string) int {
	return slices.IndexFunc(d.Statements, func(text json.RawMessage) bool {
		var st struct{ Sid string }
		return json.Unmarshal(text, &st) == nil && st.Sid == label
	})
}

// policyOf reads the policy of a queue, which may have one statement where SQS has a list.
func policyOf(q *Queue) (d document, err error) {
	d.Version, d.ID = "2012-10-17", q.ARN()+"/SQSDefaultPolicy"
	text := q.values["Policy"]
	if text == "" {
		return d, nil
	}
	var in struct {
		Version, ID string
		Statement   json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return d, failed("read policy", err)
	}
	d.Version, d.ID = in.Version, in.ID
	if json.Unmarshal(in.Statement, &d.Statements) != nil {
		d.Statements = []json.RawMessage{in.Statement}
	}
	return d, nil
}

// AddPermission adds a statement to the queue's policy: accounts may do actions, of which "*" is all. Errors: QueueDoesNotExist,
// InvalidParameterValueException, OverLimit.
func (s *Service) AddPermission(ctx context.Context, project, name, label string, accounts, actions []string) error {
	return s.changePolicy(ctx, project, name, func(q *Queue, d *document) error {
		switch {
		case !namePattern.MatchString(label):
			return invalid("Value %s for parameter Label is invalid. Reason: Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.", label)
		case d.index(label) >= 0:
			return invalid("Value %s for parameter Label is invalid. Reason: Already exists.", label)
		case len(actions) > 7:
			return fail(hansom.Denied, "OverLimit", "%d Actions were found, maximum allowed is 7.", len(actions))
		case len(d.Statements) >= maxStatements:
			return fail(hansom.Denied, "OverLimit", "A policy may have %d statements.", maxStatements)
		}
		st := struct {
			Sid       string
			Effect    string
			Principal struct{ AWS []string }
			Action    []string
			Resource  string
		}{Sid: label, Effect: "Allow", Resource: q.ARN()}
		for _, account := range accounts {
			st.Principal.AWS = append(st.Principal.AWS, "arn:aws:iam::"+account+":root")
		}
		for _, action := range actions {
			st.Action = append(st.Action, "SQS:"+action)
		}
		d.Statements = append(d.Statements, json.RawMessage(encode(st)))
		return nil
	})
}

// RemovePermission takes a statement from the queue's policy. Errors: QueueDoesNotExist, InvalidParameterValueException.
func (s *Service) RemovePermission(ctx context.Context, project, name, label string) error {
	return s.changePolicy(ctx, project, name, func(_ *Queue, d *document) error {
		i := d.index(label)
		if i < 0 {
			return invalid("Value %s for parameter Label is invalid. Reason: can't find label on existing policy.", label)
		}
		d.Statements = slices.Delete(d.Statements, i, i+1)
		return nil
	})
}

func (s *Service) changePolicy(ctx context.Context, project, name string, f func(*Queue, *document) error) error {
	return s.change(ctx, project, name, func(q *Queue) error {
		d, err := policyOf(q)
		if err == nil {
			err = f(q, &d)
		}
		if err != nil {
			return err
		}
		q.Modified = s.cfg.Now().UTC()
		if len(d.Statements) == 0 {
			delete(q.values, "Policy")
			return nil
		}
		q.values["Policy"] = encode(struct {
			Version   string `json:",omitempty"`
			ID        string `json:"Id,omitempty"`
			Statement []json.RawMessage
		}{d.Version, d.ID, d.Statements})
		return nil
	})
}
