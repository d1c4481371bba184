package invoke

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
)

// maxLoops is how often a function may be invoked in one chain of invocations (Lambda developer guide, "Recursive loop detection").
const maxLoops = 16

const (
	lineageKey = "Lineage="
	maxLineage = 32 // functions of a chain that are counted: those that were invoked last
	loopCode   = "RecursiveInvocationException"
)

// descend counts one more invocation of f in the lineage of a trace header, which has "<hash>:<count>" of each function of the chain,
// with commas between: AWS's SDKs pass that on as it is. It returns the header for the function, and the count.
func descend(trace string, f function) (string, int) {
	h := fnv.New32a()
	h.Write([]byte(f.project + "/" + f.name))
	own, n := fmt.Sprintf("%08x", h.Sum32()), 1
	var fields, chain []string
	for field := range strings.SplitSeq(trace, ";") {
		list, ok := strings.CutPrefix(field, lineageKey)
		if !ok {
			if field != "" {
				fields = append(fields, field)
			}
			continue
		}
		for entry := range strings.SplitSeq(list, ",") {
			hash, count, _ := strings.Cut(entry, ":")
			k, err := strconv.ParseUint(count, 10, 16)
			switch {
			case err != nil: // another form
			case hash == own:
				n = int(k) + 1
			default:
				chain = append(chain, entry)
			}
		}
	}
	chain = append(chain[max(0, len(chain)-maxLineage+1):], own+":"+strconv.Itoa(n))
	return strings.Join(append(fields, lineageKey+strings.Join(chain, ",")), ";"), n
}

// loop refuses an invocation in a loop.
func loop() error {
	return hansom.Errorf(hansom.Invalid, "invoke", "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services "+
		"resources and stopped your function's invocation. Allow it with PutFunctionRecursionConfig if it is meant.").WithCode(loopCode)
}

func isLoop(err error) bool {
	var e *hansom.Error
	return errors.As(err, &e) && e.Code == loopCode
}
