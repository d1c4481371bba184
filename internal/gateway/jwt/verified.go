package jwt

import "sync"

// verified remembers which key has signed a token. It is bounded: what was not asked for lately goes first.
type verified struct {
	shards [16]struct {
		sync.Mutex
		young, old map[signedBy]entry
	}
	half int // entries of one generation of a shard
}

// signedBy says of which token and of whose keys an entry is.
type signedBy struct {
	token digest
	from  *source
}

type entry struct {
	token *Token
	by    *key
}

func newVerified(entries int) *verified {
	v := &verified{}
	v.half = max(entries/2/len(v.shards), 1)
	for i := range v.shards {
		v.shards[i].young = map[signedBy]entry{}
	}
	return v
}

// get returns a token and the key of a source that has signed it; nil when that is not known.
func (v *verified) get(id digest, from *source) (*Token, *key) {
	s, at := &v.shards[id[0]%16], signedBy{id, from}
	s.Lock()
	defer s.Unlock()
	e, ok := s.young[at]
	if !ok {
		if e, ok = s.old[at]; ok {
			v.keep(at, e)
		}
	}
	return e.token, e.by
}

// put remembers a token that a key of a source has signed.
func (v *verified) put(id digest, from *source, t *Token, by *key) {
	s := &v.shards[id[0]%16]
	s.Lock()
	defer s.Unlock()
	v.keep(signedBy{id, from}, entry{t, by})
}

// keep puts an entry among the young ones of its shard, which is locked. When those are many they are the old ones from then on.
func (v *verified) keep(at signedBy, e entry) {
	s := &v.shards[at.token[0]%16]
	if len(s.young) >= v.half {
		s.old, s.young = s.young, make(map[signedBy]entry, v.half)
	}
	s.young[at] = e
}
