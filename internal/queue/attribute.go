package queue

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom"
)

// settings is what the attributes of a queue mean.
type settings struct {
	delay, visibility, retention, wait time.Duration
	size                               int // most bytes of a message
	fifo, contentDedup, perGroup       bool
	redrive                            *redrive
	allow                              *allow
}

// redrive is a RedrivePolicy.
type redrive struct {
	Target string `json:"deadLetterTargetArn"`
	Max    int    `json:"maxReceiveCount"`
}

// allow is a RedriveAllowPolicy.
type allow struct {
	Permission string   `json:"redrivePermission"`
	Sources    []string `json:"sourceQueueArns,omitempty"`
}

// bounds of an attribute that is a number, and what it is when it was not set.
type bounds struct{ least, most, normal int }

var numbers = map[string]bounds{
	"DelaySeconds":                  {0, maxDelay, 0},
	"MaximumMessageSize":            {1024, MaxSize, MaxSize},
	"MessageRetentionPeriod":        {60, 14 * 24 * 3600, 4 * 24 * 3600},
	"ReceiveMessageWaitTimeSeconds": {0, maxWait, 0},
	"VisibilityTimeout":             {0, 43200, 30},
}

// words are the attributes of FIFO queues alone: the first value is what it is when it was not set.
var words = map[string][]string{
	"ContentBasedDeduplication": {"false", "true"},
	"DeduplicationScope":        {"queue", "messageGroup"},
	"FifoQueue":                 {"true"},
	"FifoThroughputLimit":       {"perQueue", "perMessageGroupId"},
}

// computed are the attributes that a queue has and nobody sets.
var computed = []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible",
	"CreatedTimestamp", "LastModifiedTimestamp", "QueueArn"}

// others are the remaining ones; they have no value when they were not set, but for the first.
var others = []string{"SqsManagedSseEnabled", "KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "Policy", "RedriveAllowPolicy", "RedrivePolicy"}

// parse reads attributes that check has accepted.
func parse(values map[string]string) settings {
	number := func(name string) int {
		if n, err := strconv.Atoi(values[name]); err == nil {
			return n
		}
		return numbers[name].normal
	}
	seconds := func(name string) time.Duration { return time.Duration(number(name)) * time.Second }
	s := settings{delay: seconds("DelaySeconds"), visibility: seconds("VisibilityTimeout"), retention: seconds("MessageRetentionPeriod"),
		wait: seconds("ReceiveMessageWaitTimeSeconds"), size: number("MaximumMessageSize"), fifo: values["FifoQueue"] == "true",
		contentDedup: values["ContentBasedDeduplication"] == "true", perGroup: values["DeduplicationScope"] == "messageGroup"}
	if text := values["RedrivePolicy"]; text != "" {
		s.redrive = &redrive{}
		_ = json.Unmarshal([]byte(text), s.redrive) // encoded by check
	}
	if text := values["RedriveAllowPolicy"]; text != "" {
		s.allow = &allow{}
		_ = json.Unmarshal([]byte(text), s.allow) // the same
	}
	return s
}

func unknownAttribute(name string) error {
	return fail(hansom.Invalid, "InvalidAttributeName", "Unknown Attribute %s.", name)
}

func badAttribute(name, reason string) error {
	if reason != "" {
		reason = " Reason: " + reason
	}
	return fail(hansom.Invalid, "InvalidAttributeValue", "Invalid value for the parameter %s.%s", name, reason)
}

// merge returns the attributes old with the changes given, in the form in which they are kept. An empty value stands for the one that an
// attribute has when it was not set.
func merge(old, given map[string]string, fifo bool) (map[string]string, error) {
	values := maps.Clone(old)
	if values == nil {
		values = map[string]string{}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value, err := check(name, given[name], fifo)
		if err != nil {
			return nil, err
		}
		if value == "" {
			delete(values, name)
		} else {
			values[name] = value
		}
	}
	if fifo {
		values["FifoQueue"] = "true"
	}
	if values["FifoThroughputLimit"] == "perMessageGroupId" && values["DeduplicationScope"] != "messageGroup" {
		return nil, badAttribute("FifoThroughputLimit", "perMessageGroupId goes with the DeduplicationScope messageGroup only.")
	}
	return values, nil
}

// check returns the value of an attribute in the form in which it is kept.
func check(name, value string, fifo bool) (string, error) {
	number, isNumber := numbers[name]
	word, isWord := words[name]
	switch {
	case isWord && !fifo, !isNumber && !isWord && !slices.Contains(others, name):
		return "", unknownAttribute(name)
	case name == "KmsMasterKeyId" && value != "":
		return "", fail(hansom.Unsupported, "UnsupportedOperation", "KmsMasterKeyId is not supported by this server, which has no keys of KMS. Leave it out of the request.")
	case value == "":
		return "", nil
	case isNumber:
		n, err := strconv.Atoi(value)
		if err != nil || n < number.least || n > number.most {
			return "", badAttribute(name, "")
		}
		return strconv.Itoa(n), nil
	case name == "FifoQueue" && value == "false":
		return "", badAttribute(name, "Modifying queue type is not supported.")
	case isWord && !slices.Contains(word, value):
		return "", badAttribute(name, "")
	}
	switch name {
	case "SqsManagedSseEnabled":
		if value != "true" && value != "false" {
			return "", badAttribute(name, "")
		}
	case "KmsDataKeyReusePeriodSeconds":
		if n, err := strconv.Atoi(value); err != nil || n < 60 || n > 86400 {
			return "", badAttribute(name, "")
		}
	case "Policy":
		var document struct{ Statement json.RawMessage }
		if err := json.Unmarshal([]byte(value), &document); err != nil || document.Statement == nil {
			return "", badAttribute(name, "")
		}
	case "RedrivePolicy":
		return checkRedrive(value)
	case "RedriveAllowPolicy":
		return checkAllow(value)
	}
	return value, nil
}

func badPolicy(name, value, format string, args ...any) error {
	return invalid("Value %s for parameter %s is invalid. Reason: %s", value, name, fmt.Sprintf(format, args...))
}

func checkRedrive(value string) (string, error) {
	const name = "RedrivePolicy"
	var in struct {
		Target string `json:"deadLetterTargetArn"`
		Max    any    `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(value), &in); err != nil {
		return "", badPolicy(name, value, "Amazon SQS can't create the redrive policy, as it's not in JSON format.")
	}
	if in.Target == "" {
		return "", badPolicy(name, value, "Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")
	}
	if in.Max == nil {
		return "", badPolicy(name, value, "Redrive policy does not contain mandatory attribute: maxReceiveCount.")
	}
	if arn, err := hansom.ParseARN(in.Target); err != nil || arn.Service != "sqs" {
		return "", badPolicy(name, value, "Invalid value for deadLetterTargetArn.")
	}
	out := redrive{Target: in.Target}
	switch x := in.Max.(type) {
	case float64:
		if out.Max = int(x); float64(out.Max) != x {
			out.Max = 0
		}
	case string: // as many tools send it
		out.Max, _ = strconv.Atoi(x)
	}
	if out.Max < 1 || out.Max > 1000 {
		return "", badPolicy(name, value, "Invalid value for maxReceiveCount: %v, valid values are from 1 to 1000 both inclusive.", in.Max)
	}
	return encode(out), nil
}

func checkAllow(value string) (string, error) {
	const name = "RedriveAllowPolicy"
	var in allow
	if err := json.Unmarshal([]byte(value), &in); err != nil {
		return "", badPolicy(name, value, "Amazon SQS can't create the redrive allow policy, as it's not in JSON format.")
	}
	switch {
	case in.Permission != "allowAll" && in.Permission != "denyAll" && in.Permission != "byQueue":
		return "", badPolicy(name, value, "redrivePermission is not one of allowAll, denyAll, byQueue.")
	case (in.Permission == "byQueue") != (len(in.Sources) > 0):
		return "", badPolicy(name, value, "sourceQueueArns go with the redrivePermission byQueue, and with no other.")
	case len(in.Sources) > 10:
		return "", badPolicy(name, value, "sourceQueueArns has more than 10 elements.")
	}
	return encode(in), nil
}

// encode writes what cannot fail: structs of strings and numbers.
func encode(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// Attributes of the queue by their names; names may have "All". Counts are those of now. Error: InvalidAttributeName.
func (s *Service) Attributes(q *Queue, names []string) (map[string]string, error) {
	all := q.attributes()
	all["QueueArn"], all["CreatedTimestamp"], all["LastModifiedTimestamp"] = q.ARN(), unix(q.Created), unix(q.Modified)
	n := s.backlog.Counts(q.log)
	all["ApproximateNumberOfMessages"], all["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(n.Ready), strconv.Itoa(n.InFlight)
	all["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(n.Delayed)
	if slices.Contains(names, "All") {
		return all, nil
	}
	out := map[string]string{}
	for _, name := range names {
		_, isNumber := numbers[name]
		_, isWord := words[name]
		if value, ok := all[name]; ok {
			out[name] = value
		} else if !isNumber && !isWord && !slices.Contains(others, name) && !slices.Contains(computed, name) {
			return nil, unknownAttribute(name)
		}
	}
	return out, nil
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

var (
	namePattern     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)
	fifoNamePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,75}\.fifo$`)
)

// checkName refuses the name of a new queue.
func checkName(name string, fifo bool) error {
	switch {
	case fifo && !fifoNamePattern.MatchString(name):
		return invalid("The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.")
	case !fifo && !namePattern.MatchString(name):
		return invalid("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	return nil
}
