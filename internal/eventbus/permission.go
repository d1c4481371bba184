package eventbus

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/hansomcloud/hansom"
)

// maxPolicy is the most bytes of a bus's policy.
const maxPolicy = 10 << 10

// Permission is a statement that PutPermission adds.
type Permission struct {
	Sid, Action string
	Principal   string     // an account, or * for all
	Condition   *Condition // nil for none
}

// Condition of a statement: "StringEquals", "aws:PrincipalOrgID" and the value.
type Condition struct{ Type, Key, Value string }

// statements is a policy. Statements are kept as they are.
type statements struct {
	Version   string            `json:",omitempty"`
	ID        string            `json:"Id,omitempty"`
	Statement []json.RawMessage // one that is an object alone is a list of one
}

func (p *statements) read(text string) error {
	var in struct {
		Version, ID string
		Statement   json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return err
	}
	p.Version, p.ID = in.Version, in.ID
	if in.Statement != nil && json.Unmarshal(in.Statement, &p.Statement) != nil {
		p.Statement = []json.RawMessage{in.Statement}
	}
	if p.Statement == nil {
		return errors.New("it has no statement")
	}
	for _, st := range p.Statement {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(st, &fields); err != nil {
			return err
		}
	}
	return nil
}

func (p *statements) index(sid string) int {
	return slices.IndexFunc(p.Statement, func(text json.RawMessage) bool {
		var st struct{ Sid string }
		return json.Unmarshal(text, &st) == nil && st.Sid == sid
	})
}

// PutPermission adds a statement to the policy of a bus, or replaces the one of the same Sid. Errors: ResourceNotFoundException,
// PolicyLengthExceededException.
func (s *Service) PutPermission(ctx context.Context, project, bus string, in Permission) error {
	return s.changePolicy(ctx, project, bus, func(b *Bus, p *statements) error {
		st := struct {
			Sid, Effect string
			Principal   any
			Action      string
			Resource    string
			Condition   map[string]map[string]string `json:",omitempty"`
		}{in.Sid, "Allow", "*", in.Action, b.ARN(), nil}
		if in.Principal != "*" {
			st.Principal = map[string]string{"AWS": "arn:aws:iam::" + in.Principal + ":root"}
		}
		if c := in.Condition; c != nil {
			st.Condition = map[string]map[string]string{c.Type: {c.Key: c.Value}}
		}
		if i := p.index(in.Sid); i >= 0 {
			p.Statement[i] = json.RawMessage(encode(st))
		} else {
			p.Statement = append(p.Statement, json.RawMessage(encode(st)))
		}
		return nil
	})
}

// SetPolicy replaces the policy of a bus. Errors: ResourceNotFoundException, ValidationException, PolicyLengthExceededException.
func (s *Service) SetPolicy(ctx context.Context, project, bus, document string) error {
	return s.changePolicy(ctx, project, bus, func(_ *Bus, p *statements) error {
		*p = statements{}
		if err := p.read(document); err != nil {
			return invalid("This policy contains invalid Json")
		}
		return nil
	})
}

// RemovePermission takes a statement from the policy of a bus. Error: ResourceNotFoundException.
func (s *Service) RemovePermission(ctx context.Context, project, bus, sid string) error {
	return s.changePolicy(ctx, project, bus, func(b *Bus, p *statements) error {
		i := p.index(sid)
		switch {
		case b.Policy == "":
			return fail(hansom.NotFound, "ResourceNotFoundException", "EventBus does not have a policy.")
		case i < 0:
			return fail(hansom.NotFound, "ResourceNotFoundException", "Statement with the provided id does not exist.")
		}
		p.Statement = slices.Delete(p.Statement, i, i+1)
		return nil
	})
}

// RemovePolicy takes the whole policy from a bus. Error: ResourceNotFoundException.
func (s *Service) RemovePolicy(ctx context.Context, project, bus string) error {
	return s.changePolicy(ctx, project, bus, func(_ *Bus, p *statements) error {
		p.Statement = nil
		return nil
	})
}

func (s *Service) changePolicy(ctx context.Context, project, bus string, f func(*Bus, *statements) error) error {
	_, err := s.changeBus(ctx, project, bus, func(b *Bus) error {
		p := statements{Version: "2012-10-17"}
		if b.Policy != "" {
			if err := p.read(b.Policy); err != nil {
				return failed("read policy", err)
			}
		}
		if err := f(b, &p); err != nil {
			return err
		}
		if b.Policy = ""; len(p.Statement) > 0 {
			b.Policy = encode(p)
		}
		if len(b.Policy) > maxPolicy {
			return fail(hansom.Invalid, "PolicyLengthExceededException", "The policy has %d bytes; the limit is %d.", len(b.Policy), maxPolicy)
		}
		b.Modified = s.cfg.Now().UTC()
		return nil
	})
	return err
}
