package queue

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/db"
)

// States of a move task, as SQS names them.
const (
	MoveRunning   = "RUNNING"
	MoveCompleted = "COMPLETED"
	MoveCancelled = "CANCELLED"
	MoveFailed    = "FAILED"
)

// Move is a message move task: it moves the messages of a dead-letter queue back, or to another queue.
type Move struct {
	Handle      string // of a task that runs
	Status      string
	Source      string // ARN
	Destination string // ARN; "" moves each message to where it came from
	Rate        int    // messages a second; 0 when none was given
	Moved       int
	Total       int // messages that there were when it started
	Failure     string
	Started     time.Time

	id, project, name string
}

const (
	maxMoveRate = 500
	moveBatch   = 10
	keptMoves   = 10              // of a queue, the last ones; the rest is forgotten
	moveHidden  = 5 * time.Minute // of messages that are being moved
	saveEvery   = time.Second     // of the numbers of a task
)

// moving is the move tasks that run in this process.
type moving struct {
	mu    sync.Mutex
	tasks map[string]*running // by id
	done  sync.WaitGroup
}

type running struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when its numbers are saved
}

func noResource(parameter string) error {
	return fail(hansom.NotFound, "ResourceNotFoundException", "The resource that you specified for the %s parameter doesn't exist.", parameter)
}

// StartMove starts a task for the dead-letter queue source, in Run. rate is in messages a second; nil moves them as fast as it goes.
// Errors: ResourceNotFoundException, InvalidParameterValueException, UnsupportedOperation when one runs.
func (s *Service) StartMove(ctx context.Context, project, source, destination string, rate *int64) (handle string, err error) {
	q, err := s.owned(project, source, "SourceArn")
	if err != nil {
		return "", err
	}
	if destination != "" {
		target, err := s.owned(project, destination, "DestinationArn")
		switch {
		case err != nil:
			return "", err
		case target.log == q.log:
			return "", invalid("Source queue arn and destination queue arn cannot be the same.")
		case target.fifo != q.fifo:
			return "", invalid("Source queue type must match destination queue type.")
		}
	}
	sources, err := s.DeadLetterSources(project, q.Name, "")
	switch {
	case err != nil:
		return "", err
	case len(sources) == 0:
		return "", invalid("Source queue must be configured as a Dead Letter Queue.")
	case rate != nil && (*rate < 1 || *rate > maxMoveRate):
		return "", invalid("Value %d for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: You must enter a value between 1 and %d.", *rate, maxMoveRate)
	}
	m := Move{id: s.newID(), project: project, name: q.Name, Status: MoveRunning, Destination: destination, Total: s.backlog.Counts(q.log).Ready, Started: s.cfg.Now()}
	if rate != nil {
		m.Rate = int(*rate)
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		list, err := s.moves(ctx, tx, `WHERE project = ? AND source = ? ORDER BY started DESC, id`, project, q.Name)
		if err != nil {
			return err
		}
		for i, old := range list {
			if old.Status == MoveRunning {
				return fail(hansom.Conflict, "UnsupportedOperation", "There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
			}
			if i < keptMoves-1 {
				continue
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM queue_moves WHERE id = ?`, old.id); err != nil {
				return failed("start move task", err)
			}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO queue_moves (id, project, source, destination, rate, status, failure, moved, total, started) VALUES (?, ?, ?, ?, ?, ?, '', 0, ?, ?)`,
			m.id, m.project, m.name, m.Destination, m.Rate, m.Status, m.Total, m.Started.UnixMicro())
		if err != nil {
			return failed("start move task", err)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return moveHandle(m.id, q.ARN()), nil
}

// owned returns the queue of a project that an ARN names.
func (s *Service) owned(project, arn, parameter string) (*Queue, error) {
	owner, name, ok := s.local(arn)
	if !ok {
		if _, err := hansom.ParseARN(arn); err != nil {
			return nil, invalid("You must use this format to specify the %s: arn:aws:sqs:<region>:<account>:<queue>", parameter)
		}
		return nil, noResource(parameter)
	}
	q := s.view.find(owner, name)
	if owner != project || q == nil {
		return nil, noResource(parameter)
	}
	return q, nil
}

// taskHandle is what a handle says, as SQS writes it.
type taskHandle struct {
	Task   string `json:"taskId"`
	Source string `json:"sourceArn"`
}

func moveHandle(id, source string) string {
	return base64.StdEncoding.EncodeToString([]byte(encode(taskHandle{id, source})))
}

// CancelMove ends a task that runs; moved is how many messages it has moved. Errors: ResourceNotFoundException,
// InvalidParameterValueException, UnsupportedOperation when it has ended.
func (s *Service) CancelMove(ctx context.Context, project, handle string) (moved int, err error) {
	var h taskHandle
	text, err := base64.StdEncoding.DecodeString(handle)
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil {
		return 0, invalid("Value %s for parameter TaskHandle is invalid.", handle)
	}
	q, err := s.owned(project, h.Source, "SourceArn")
	if err != nil {
		return 0, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		list, err := s.moves(ctx, tx, `WHERE id = ? AND project = ? AND source = ?`, h.Task, project, q.Name)
		switch {
		case err != nil:
			return err
		case len(list) == 0:
			return fail(hansom.NotFound, "ResourceNotFoundException", "Task does not exist.")
		case list[0].Status != MoveRunning:
			return fail(hansom.Conflict, "UnsupportedOperation", "Only active tasks can be cancelled.")
		}
		_, err = tx.ExecContext(ctx, `UPDATE queue_moves SET status = ? WHERE id = ?`, MoveCancelled, h.Task)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.moving.mu.Lock()
	r := s.moving.tasks[h.Task]
	s.moving.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
	list, err := s.moves(ctx, s.db.Read(), `WHERE id = ?`, h.Task)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].Moved, nil
}

// Moves returns the last tasks of a queue, the latest first, at most limit. Error: ResourceNotFoundException.
func (s *Service) Moves(ctx context.Context, project, source string, limit int) ([]Move, error) {
	q, err := s.owned(project, source, "SourceArn")
	if err != nil {
		return nil, err
	}
	return s.moves(ctx, s.db.Read(), `WHERE project = ? AND source = ? ORDER BY started DESC, id LIMIT ?`, project, q.Name, limit)
}

// moves reads tasks; rest is what follows FROM.
func (s *Service) moves(ctx context.Context, q db.Querier, rest string, args ...any) ([]Move, error) {
	rows, err := q.QueryContext(ctx, `SELECT id, project, source, destination, rate, status, failure, moved, total, started FROM queue_moves `+rest, args...)
	if err != nil {
		return nil, failed("read move tasks", err)
	}
	defer rows.Close()
	var list []Move
	for rows.Next() {
		var m Move
		var started int64
		if err := rows.Scan(&m.id, &m.project, &m.name, &m.Destination, &m.Rate, &m.Status, &m.Failure, &m.Moved, &m.Total, &started); err != nil {
			return nil, failed("read move tasks", err)
		}
		m.Source, m.Started = ARN(s.cfg.Region, m.project, m.name), time.UnixMicro(started).UTC()
		if m.Status == MoveRunning {
			m.Handle = moveHandle(m.id, m.Source)
		}
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read move tasks", err)
	}
	return list, nil
}

// startMoves runs the tasks that are to run, also those of a process that was killed.
func (s *Service) startMoves(ctx context.Context) {
	list, err := s.moves(ctx, s.db.Read(), `WHERE status = ?`, MoveRunning)
	if err != nil && ctx.Err() == nil {
		s.logger.Error("move tasks could not be read; it is tried again", "error", err)
	}
	s.moving.mu.Lock()
	defer s.moving.mu.Unlock()
	for _, m := range list {
		if s.moving.tasks[m.id] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		r := &running{cancel, make(chan struct{})}
		s.moving.tasks[m.id] = r
		s.moving.done.Go(func() {
			defer close(r.done)
			defer cancel()
			s.run(ctx, &m)
			s.moving.mu.Lock()
			defer s.moving.mu.Unlock()
			delete(s.moving.tasks, m.id)
		})
	}
}

// run runs a task to its end, or until ctx ends.
func (s *Service) run(ctx context.Context, m *Move) {
	err := s.move(ctx, m)
	var e *hansom.Error
	switch {
	case ctx.Err() != nil: // Run ends and the task goes on after the next start; or it is being cancelled
	case err == nil:
		m.Status = MoveCompleted
	case hansom.KindOf(err) == hansom.Unavailable:
		s.logger.Warn("a move task stopped; it is tried again", "queue", m.Source, "error", err)
	case errors.As(err, &e) && e.Code != "":
		m.Status, m.Failure = MoveFailed, e.Code
	default:
		s.logger.Error("a move task failed", "queue", m.Source, "error", err)
		m.Status, m.Failure = MoveFailed, "InternalError"
	}
	s.saveMove(context.WithoutCancel(ctx), m)
}

// saveMove writes the numbers of a task, and its state unless it was cancelled.
func (s *Service) saveMove(ctx context.Context, m *Move) {
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE queue_moves SET moved = ? WHERE id = ?`, m.Moved, m.id)
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE queue_moves SET status = ?, failure = ? WHERE id = ? AND status = ?`, m.Status, m.Failure, m.id, MoveRunning)
		}
		return err
	})
	if err != nil {
		s.logger.Error("a move task could not be written", "queue", m.Source, "error", err)
	}
}

// move moves the messages. Those that come back meanwhile are not moved twice: it ends after as many as there were.
func (s *Service) move(ctx context.Context, m *Move) error {
	began, already, saved := s.cfg.Now(), m.Moved, s.cfg.Now()
	id := ""
	for m.Moved < m.Total && ctx.Err() == nil {
		q, err := s.Get(m.project, m.name)
		if err == nil && id != "" && q.id != id { // it was deleted, and another one made
			err = notFound()
		}
		if err != nil {
			return err
		}
		id = q.id
		limit := min(moveBatch, m.Total-m.Moved)
		if m.Rate > 0 {
			limit = min(limit, m.Rate)
		}
		taken, err := s.backlog.Take(ctx, q.log, backlog.Take{Limit: limit, Hidden: moveHidden, Volatile: true})
		if err != nil {
			return err
		}
		if len(taken) == 0 {
			return nil
		}
		for i := range taken {
			if err == nil && ctx.Err() == nil {
				if err = s.moveOne(ctx, m, q, &taken[i]); err == nil {
					m.Moved++
					continue
				}
			}
			if _, err := s.backlog.Release(context.WithoutCancel(ctx), q.log, taken[i].Receipt, 0, nil); err != nil {
				s.logger.Warn("a message that could not be moved is shown later", "queue", q.ARN(), "error", err)
			}
		}
		if err != nil {
			return err
		}
		if now := s.cfg.Now(); now.Sub(saved) >= saveEvery {
			saved = now
			s.saveMove(context.WithoutCancel(ctx), m)
		}
		if m.Rate > 0 && m.Moved < m.Total {
			next := began.Add(time.Duration(m.Moved-already) * time.Second / time.Duration(m.Rate))
			timer := time.NewTimer(next.Sub(s.cfg.Now()))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}
	return nil
}

// moveOne moves a message. It is a new one there: it has another id and was never received.
func (s *Service) moveOne(ctx context.Context, m *Move, q *Queue, x *backlog.Message) error {
	e, _, err := unwrap(x.Body)
	if err != nil {
		return err
	}
	arn := m.Destination
	if arn == "" {
		arn = e.Source
	}
	if arn == "" {
		return fail(hansom.NotFound, "CouldNotDetermineMessageSource", "The message did not come from another queue: name a destination.")
	}
	project, name, ok := s.local(arn)
	target := s.view.find(project, name)
	if !ok || project != m.project || target == nil {
		return fail(hansom.NotFound, "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
	}
	e.Takes, e.First, e.Source = 0, 0, ""
	return s.transfer(context.WithoutCancel(ctx), q, target, x, e, backlog.Entry{ID: s.newID()})
}
