package logs

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom/internal/telemetry"
)

func (s *Service) createLogStream(c *call) (any, error) {
	return nil, s.logs.CreateStream(c, c.project, c.in.Text("logGroupName"), c.in.Text("logStreamName"))
}

func (s *Service) deleteLogStream(c *call) (any, error) {
	return nil, s.logs.DeleteStream(c, c.project, c.in.Text("logGroupName"), c.in.Text("logStreamName"))
}

type logStream struct {
	LogStreamName       string `json:"logStreamName"`
	CreationTime        int64  `json:"creationTime"`
	FirstEventTimestamp int64  `json:"firstEventTimestamp,omitempty"`
	LastEventTimestamp  int64  `json:"lastEventTimestamp,omitempty"`
	LastIngestionTime   int64  `json:"lastIngestionTime,omitempty"`
	UploadSequenceToken string `json:"uploadSequenceToken"`
	ARN                 string `json:"arn"`
	StoredBytes         int64  `json:"storedBytes"` // as AWS has it since 2019: always 0
}

// sequenceToken is for clients of the time when tokens counted. Any is accepted.
const sequenceToken = "49000000000000000000000000000000000000000000000000000000"

func (s *Service) describeLogStreams(c *call) (any, error) {
	group, err := s.group(c)
	if err != nil {
		return nil, err
	}
	prefix, byTime := c.in.Text("logStreamNamePrefix"), c.in.Text("orderBy") == "LastEventTime"
	if prefix != "" && byTime {
		return nil, c.invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	streams, err := s.logs.Streams(c, c.project, group)
	if err != nil {
		return nil, err
	}
	streams = slices.DeleteFunc(streams, func(st telemetry.Stream) bool { return !strings.HasPrefix(st.Name, prefix) })
	sign := 1
	if c.in.Flag("descending") {
		sign = -1
	}
	order := func(a, b telemetry.Stream) int {
		if byTime {
			return sign * cmp.Or(cmp.Compare(millis(a.Last), millis(b.Last)), cmp.Compare(a.Name, b.Name))
		}
		return sign * cmp.Compare(a.Name, b.Name)
	}
	slices.SortFunc(streams, order)
	behind := func(st telemetry.Stream, after []string) bool {
		if last, _ := strconv.ParseInt(after[0], 10, 64); byTime && millis(st.Last) != last {
			return cmp.Compare(millis(st.Last), last) == sign
		}
		return cmp.Compare(st.Name, after[1]) == sign
	}
	streams, next, err := paged(c, streams, behind, func(st telemetry.Stream) []string {
		return []string{strconv.FormatInt(millis(st.Last), 10), st.Name}
	})
	if err != nil {
		return nil, err
	}
	out := struct {
		LogStreams []logStream `json:"logStreams"`
		NextToken  string      `json:"nextToken,omitempty"`
	}{[]logStream{}, next}
	for _, st := range streams {
		out.LogStreams = append(out.LogStreams, logStream{st.Name, millis(st.Created), millis(st.First), millis(st.Last), millis(st.LastIngestion),
			sequenceToken, s.groupARN(c.project, group) + ":log-stream:" + st.Name, 0})
	}
	return out, nil
}
