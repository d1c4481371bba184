package sqs

import (
	"encoding/base64"

	"github.com/hansomcloud/hansom/internal/queue"
)

// maxPage is the most queues that a list has.
const maxPage = 1000

type queueURL struct {
	QueueURL string `json:"QueueUrl" xml:"QueueUrl"`
}

func (s *Service) createQueue(c *call) (any, error) {
	q, err := s.queues.Create(c, c.principal.Project, c.in.Text("QueueName"), texts(c.in, "Attributes"), texts(c.in, "tags"))
	if err != nil {
		return nil, err
	}
	return queueURL{c.url(q)}, nil
}

func (s *Service) deleteQueue(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	return nil, s.queues.Delete(c, project, name)
}

func (s *Service) getQueueURL(c *call) (any, error) {
	if owner := c.in.Text("QueueOwnerAWSAccountId"); owner != "" && owner != c.principal.Project {
		return nil, noQueue(c.op)
	}
	q, err := s.queues.Get(c.principal.Project, c.in.Text("QueueName"))
	if err != nil {
		return nil, err
	}
	return queueURL{c.url(q)}, nil
}

// page cuts a list of queues, which after was asked with, to MaxResults.
func (c *call) page(list []*queue.Queue) (urls []string, next string, err error) {
	limit := maxPage
	n := number(c.in, "MaxResults")
	if n != nil {
		if *n < 1 || *n > maxPage {
			return nil, "", invalid("Value %d for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and %d, inclusive.", *n, maxPage)
		}
		limit = int(*n)
	}
	if len(list) > limit {
		list = list[:limit]
		if n != nil {
			next = base64.StdEncoding.EncodeToString([]byte(list[limit-1].Name))
		}
	}
	for _, q := range list {
		urls = append(urls, c.url(q))
	}
	return urls, next, nil
}

// after is the name of the last queue of the page before.
func (c *call) after() (string, error) {
	name, err := base64.StdEncoding.DecodeString(c.in.Text("NextToken"))
	if err != nil {
		return "", invalid("Invalid or expired next token.")
	}
	return string(name), nil
}

func (s *Service) listQueues(c *call) (any, error) {
	after, err := c.after()
	if err != nil {
		return nil, err
	}
	out := struct {
		QueueURLs []string `json:"QueueUrls,omitempty" xml:"QueueUrl"`
		NextToken string   `json:",omitempty" xml:",omitempty"`
	}{}
	out.QueueURLs, out.NextToken, err = c.page(s.queues.List(c.principal.Project, c.in.Text("QueueNamePrefix"), after))
	return out, err
}

func (s *Service) listDeadLetterSourceQueues(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	after, err := c.after()
	if err != nil {
		return nil, err
	}
	list, err := s.queues.DeadLetterSources(project, name, after)
	if err != nil {
		return nil, err
	}
	out := struct {
		QueueURLs []string `json:"queueUrls" xml:"QueueUrl"`
		NextToken string   `json:",omitempty" xml:",omitempty"`
	}{}
	out.QueueURLs, out.NextToken, err = c.page(list)
	if out.QueueURLs == nil {
		out.QueueURLs = []string{}
	}
	return out, err
}

func (s *Service) getQueueAttributes(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	q, err := s.queues.Get(project, name)
	if err != nil {
		return nil, err
	}
	attributes, err := s.queues.Attributes(q, c.in.Texts("AttributeNames"))
	if err != nil {
		return nil, err
	}
	return struct {
		Attributes namedMap `json:",omitempty" xml:"Attribute"`
	}{attributes}, nil
}

func (s *Service) setQueueAttributes(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	return nil, s.queues.SetAttributes(c, project, name, texts(c.in, "Attributes"))
}

func (s *Service) purgeQueue(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	return nil, s.queues.Purge(c, project, name)
}

func (s *Service) tagQueue(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	return nil, s.queues.Tag(c, project, name, texts(c.in, "Tags"))
}

func (s *Service) untagQueue(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	return nil, s.queues.Untag(c, project, name, c.in.Texts("TagKeys"))
}

func (s *Service) listQueueTags(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	q, err := s.queues.Get(project, name)
	if err != nil {
		return nil, err
	}
	return struct {
		Tags tagMap `json:",omitempty" xml:"Tag"`
	}{q.Tags}, nil
}

func (s *Service) addPermission(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	names := c.in.Texts("Actions")
	for _, action := range names {
		if _, ok := operations[action]; !ok && action != "*" {
			return nil, invalid("Value SQS:%s for parameter ActionName is invalid. Reason: Please refer to the appropriate WSDL for a list of valid actions.", action)
		}
	}
	return nil, s.queues.AddPermission(c, project, name, c.in.Text("Label"), c.in.Texts("AWSAccountIds"), names)
}

func (s *Service) removePermission(c *call) (any, error) {
	project, name, err := c.queue()
	if err != nil {
		return nil, err
	}
	return nil, s.queues.RemovePermission(c, project, name, c.in.Text("Label"))
}

func (s *Service) startMessageMoveTask(c *call) (any, error) {
	handle, err := s.queues.StartMove(c, c.principal.Project, c.in.Text("SourceArn"), c.in.Text("DestinationArn"), number(c.in, "MaxNumberOfMessagesPerSecond"))
	if err != nil {
		return nil, err
	}
	return struct{ TaskHandle string }{handle}, nil
}

func (s *Service) cancelMessageMoveTask(c *call) (any, error) {
	moved, err := s.queues.CancelMove(c, c.principal.Project, c.in.Text("TaskHandle"))
	if err != nil {
		return nil, err
	}
	return struct{ ApproximateNumberOfMessagesMoved int }{moved}, nil
}

// moveTask is a task in a list.
type moveTask struct {
	TaskHandle                        string `json:",omitempty" xml:",omitempty"`
	Status                            string
	SourceARN                         string `json:"SourceArn" xml:"SourceArn"`
	DestinationARN                    string `json:"DestinationArn,omitempty" xml:"DestinationArn,omitempty"`
	MaxNumberOfMessagesPerSecond      int    `json:",omitempty" xml:",omitempty"`
	ApproximateNumberOfMessagesMoved  int
	ApproximateNumberOfMessagesToMove int
	FailureReason                     string `json:",omitempty" xml:",omitempty"`
	StartedTimestamp                  int64
}

func (s *Service) listMessageMoveTasks(c *call) (any, error) {
	limit := int64(1)
	if n := number(c.in, "MaxResults"); n != nil {
		limit = *n
	}
	if limit < 1 || limit > 10 {
		return nil, invalid("Value %d for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 10, inclusive.", limit)
	}
	list, err := s.queues.Moves(c, c.principal.Project, c.in.Text("SourceArn"), int(limit))
	if err != nil {
		return nil, err
	}
	out := struct {
		Results []moveTask `json:",omitempty" xml:"Result"`
	}{}
	for _, m := range list {
		out.Results = append(out.Results, moveTask{m.Handle, m.Status, m.Source, m.Destination, m.Rate, m.Moved, m.Total, m.Failure, m.Started.UnixMilli()})
	}
	return out, nil
}
