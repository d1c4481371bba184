package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

const (
	queueClients = 8
	queueBatch   = 10     // messages of a call
	queueBacklog = 60_000 // messages that wait when a round of receiving begins, at the most; it may end early
)

// queues measures how fast messages are sent to a queue, received and deleted, beside JetStream alone.
func (b *bench) queues(ctx context.Context) error {
	b.report.section("Queues")
	b.report.printf("SendMessage, and ReceiveMessage with DeleteMessageBatch of %d messages, over %d connections in the JSON protocol, with signatures; against JetStream with as many clients over TCP "+
		"and the same durability: publishing one message at a time, and fetching %[1]d of a work queue and acknowledging each with an answer. Bodies of %d bytes.\n\n", queueBatch, queueClients, len(rig.Payload))
	b.report.printf("| durability | | | messages/s | p50 ms of a call | p99 ms |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, durability := range []string{"process", "always"} {
		if err := b.queuesWith(ctx, durability); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) queuesWith(ctx context.Context, durability string) error {
	s, err := b.server("--sync", durability)
	if err != nil {
		return err
	}
	defer func() { s.Stop() }()
	var made struct{ QueueUrl string }
	if err := s.SQS(ctx, "CreateQueue", map[string]any{"QueueName": "bench", "Attributes": map[string]string{"VisibilityTimeout": "300"}}, &made); err != nil {
		return err
	}
	log, err := openStream(ctx, filepath.Join(b.dir, "queue-"+durability), durability == "always", queueClients)
	if err != nil {
		return err
	}
	defer log.stop()
	work, err := log.workQueue(ctx)
	if err != nil {
		return err
	}
	request, err := s.SQSRequest(ctx, "SendMessage", map[string]any{"QueueUrl": made.QueueUrl, "MessageBody": string(rig.Payload)})
	if err != nil {
		return err
	}
	hansom := &side{Process: s.Process, name: hansomName, samples: map[string][]load.Sample{}}
	alone := &side{name: jetStreamName, samples: map[string][]load.Sample{}}
	sides := []*side{hansom, alone}
	send, receive := "send, "+durability, "receive and delete, "+durability
	if err := b.interleave(ctx, send, sides, func(x *side) (load.Sample, error) {
		if x == alone {
			return log.publish(ctx, log.clients, b.length)
		}
		return load.Closed(s.API, request, queueClients, b.length, s.Pids)
	}); err != nil {
		return err
	}
	if err := b.interleave(ctx, receive, sides, func(x *side) (load.Sample, error) {
		if x == alone {
			return work.drain(ctx, b.length)
		}
		if err := fillQueue(ctx, s, made.QueueUrl); err != nil {
			return load.Sample{}, err
		}
		return drainQueue(ctx, s, made.QueueUrl, b.length)
	}); err != nil {
		return err
	}
	for _, what := range []string{send, receive} {
		times := 1.0
		if what == receive {
			times = queueBatch
		}
		for _, x := range sides {
			b.report.printf("| %s | %s | %s | %.0f | %.3f | %.3f |\n", durability, strings.TrimSuffix(what, ", "+durability), x.name, times*x.median(what, rate), x.median(what, percentile(50)), x.median(what, percentile(99)))
		}
	}
	return nil
}

// each runs f again and again for each client, until d is over or f says that there is no more, and joins what they measured: one
// latency a call.
func each(clients int, d time.Duration, f func(client int) (more bool, err error)) (load.Sample, error) {
	var (
		mu   sync.Mutex
		out  load.Sample
		fail error
		wg   sync.WaitGroup
	)
	start := time.Now()
	for client := range clients {
		wg.Go(func() {
			var latencies []time.Duration
			var err error
			more := true
			for now := time.Now(); more && err == nil && now.Sub(start) < d; {
				more, err = f(client)
				end := time.Now()
				latencies = append(latencies, end.Sub(now))
				now = end
			}
			mu.Lock()
			defer mu.Unlock()
			out.Latencies = append(out.Latencies, latencies...)
			if err != nil {
				fail = err
			}
		})
	}
	wg.Wait()
	out.Elapsed = time.Since(start)
	slices.Sort(out.Latencies)
	return out, fail
}

// fillQueue sends until queueBacklog messages wait.
func fillQueue(ctx context.Context, s *rig.Server, url string) error {
	var out struct{ Attributes map[string]string }
	if err := s.SQS(ctx, "GetQueueAttributes", map[string]any{"QueueUrl": url, "AttributeNames": []string{"ApproximateNumberOfMessages"}}, &out); err != nil {
		return err
	}
	have, err := strconv.Atoi(out.Attributes["ApproximateNumberOfMessages"])
	if err != nil {
		return err
	}
	entries := make([]map[string]string, queueBatch)
	for i := range entries {
		entries[i] = map[string]string{"Id": fmt.Sprint(i), "MessageBody": string(rig.Payload)}
	}
	calls := make(chan struct{}, queueBacklog/queueBatch)
	for n := have; n < queueBacklog; n += queueBatch {
		calls <- struct{}{}
	}
	close(calls)
	_, err = each(queueClients, time.Hour, func(int) (bool, error) {
		if _, more := <-calls; !more {
			return false, nil
		}
		return true, s.SQS(ctx, "SendMessageBatch", map[string]any{"QueueUrl": url, "Entries": entries}, nil)
	})
	return err
}

// drainQueue receives and deletes for d.
func drainQueue(ctx context.Context, s *rig.Server, url string, d time.Duration) (load.Sample, error) {
	return each(queueClients, d, func(int) (bool, error) {
		var got struct {
			Messages []struct{ ReceiptHandle string }
		}
		if err := s.SQS(ctx, "ReceiveMessage", map[string]any{"QueueUrl": url, "MaxNumberOfMessages": queueBatch}, &got); err != nil {
			return false, err
		}
		if len(got.Messages) < queueBatch {
			return false, nil // the round ends early
		}
		entries := make([]map[string]string, len(got.Messages))
		for i, m := range got.Messages {
			entries[i] = map[string]string{"Id": fmt.Sprint(i), "ReceiptHandle": m.ReceiptHandle}
		}
		var deleted struct{ Successful []struct{} }
		err := s.SQS(ctx, "DeleteMessageBatch", map[string]any{"QueueUrl": url, "Entries": entries}, &deleted)
		if err == nil && len(deleted.Successful) != len(entries) {
			err = fmt.Errorf("%d of %d messages were deleted", len(deleted.Successful), len(entries))
		}
		return true, err
	})
}

// workQueue is a stream whose messages end with their acknowledgement, with a consumer for each client.
type workQueue struct {
	js        jetstream.JetStream
	stream    jetstream.Stream
	consumers []jetstream.Consumer
}

func (s *stream) workQueue(ctx context.Context) (*workQueue, error) {
	w := &workQueue{}
	for _, c := range s.clients {
		js, err := jetstream.New(c, jetstream.WithPublishAsyncMaxPending(4096))
		if err == nil && w.js == nil {
			w.js = js
			w.stream, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "work", Subjects: []string{"work"}, Storage: jetstream.FileStorage, Retention: jetstream.WorkQueuePolicy})
		}
		var consumer jetstream.Consumer
		if err == nil {
			consumer, err = js.CreateOrUpdateConsumer(ctx, "work", jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
		}
		if err != nil {
			return nil, err
		}
		w.consumers = append(w.consumers, consumer)
	}
	return w, nil
}

// drain fills the stream, then fetches and acknowledges for d.
func (w *workQueue) drain(ctx context.Context, d time.Duration) (load.Sample, error) {
	info, err := w.stream.Info(ctx)
	if err != nil {
		return load.Sample{}, err
	}
	for n := info.State.Msgs; n < queueBacklog; n++ {
		if _, err := w.js.PublishAsync("work", rig.Payload, jetstream.WithStallWait(time.Minute)); err != nil {
			return load.Sample{}, err
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-ctx.Done():
		return load.Sample{}, ctx.Err()
	}
	return each(len(w.consumers), d, func(client int) (bool, error) {
		batch, err := w.consumers[client].Fetch(queueBatch, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return false, err
		}
		n := 0
		var acks sync.WaitGroup
		var mu sync.Mutex
		for m := range batch.Messages() {
			n++
			acks.Go(func() {
				if e := m.DoubleAck(ctx); e != nil {
					mu.Lock()
					defer mu.Unlock()
					err = e
				}
			})
		}
		acks.Wait()
		return n == queueBatch, err
	})
}
