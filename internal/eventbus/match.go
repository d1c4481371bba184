package eventbus

import "github.com/hansomcloud/hansom/internal/pattern"

// set finds which of its patterns match an event.
type set struct{ patterns map[string]*pattern.Pattern }

func (s *set) Add(id string, p *pattern.Pattern) {
	if s.patterns == nil {
		s.patterns = map[string]*pattern.Pattern{}
	}
	s.patterns[id] = p
}

func (s *set) Remove(id string) { delete(s.patterns, id) }

func (s *set) Match(event []byte) (ids []string, err error) {
	for id, p := range s.patterns {
		ok, err := p.Match(event)
		if err != nil {
			return nil, err
		}
		if ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
