package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

// acceptEvents measures how fast events are accepted, beside what the message log below it stores when nothing else is done.
func (b *bench) acceptEvents(ctx context.Context) error {
	const clients = 8
	b.report.section("Accepting asynchronous invocations")
	b.report.printf("Invoke with `InvocationType=Event` over %d connections, signed once, against publishing the same payload to JetStream one at a time from as many clients, "+
		"with the same durability: over TCP, as Hansom's clients come, and from inside its process. The function may run one event at a time and takes its time, so that what is measured is the acceptance.\n\n", clients)
	b.report.printf("| durability | | accepted/s | p50 ms | p99 ms |\n| --- | --- | --- | --- | --- |\n")
	for _, durability := range []string{"process", "always"} {
		if err := b.acceptWith(ctx, durability, clients); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) acceptWith(ctx context.Context, durability string, clients int) error {
	s, err := b.server("--sync", durability)
	if err != nil {
		return err
	}
	defer func() { s.Stop() }()
	l := b.languages()[0]
	f := l.function("slow")
	f.Code = rig.Zip("app.js", []byte("exports.handler = () => new Promise((done) => setTimeout(done, 20000))\n"))
	if err := s.Create(ctx, f); err != nil {
		return err
	}
	if _, err := s.Client.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: &f.Name, ReservedConcurrentExecutions: aws.Int32(1)}); err != nil {
		return err
	}
	request, err := s.EventInvocation(ctx, f.Name)
	if err != nil {
		return err
	}
	log, err := openStream(ctx, filepath.Join(b.dir, "stream-"+durability), durability == "always", clients)
	if err != nil {
		return err
	}
	defer log.stop()
	hansom := &side{Process: s.Process, name: hansomName, request: request, samples: map[string][]load.Sample{}}
	alone := &side{name: jetStreamName, samples: map[string][]load.Sample{}}
	inside := &side{name: jetStreamName + ", clients inside", samples: map[string][]load.Sample{}}
	sides := []*side{hansom, alone, inside}
	err = b.interleave(ctx, durability, sides, func(x *side) (load.Sample, error) {
		switch x {
		case alone:
			return log.publish(ctx, log.clients, b.length)
		case inside:
			return log.publish(ctx, log.inside, b.length)
		}
		return load.Closed(s.API, request, clients, b.length, s.Pids)
	})
	if err != nil {
		return err
	}
	for _, x := range sides {
		b.report.printf("| %s | %s | %.0f | %.3f | %.3f |\n", durability, x.name, x.median(durability, rate), x.median(durability, percentile(50)), x.median(durability, percentile(99)))
	}
	b.report.target("P8", fmt.Sprintf("events accepted/s with %d connections, to JetStream alone, `--sync %s`", clients, durability), hansom.median(durability, rate)/alone.median(durability, rate), 0.5, atLeast)
	return nil
}

const jetStreamName = "JetStream alone"

// stream is a JetStream server inside this program, and clients of it: over TCP, and as many that it shares its process with.
type stream struct {
	server          *natsserver.Server
	clients, inside []*nats.Conn
}

func openStream(ctx context.Context, dir string, always bool, clients int) (s *stream, err error) {
	server, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, JetStream: true, StoreDir: dir, SyncAlways: always, DisableJetStreamBanner: true})
	if err != nil {
		return nil, err
	}
	s = &stream{server: server}
	server.Start()
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if !server.ReadyForConnections(10 * time.Second) {
		return nil, fmt.Errorf("the JetStream server in %s did not start", dir)
	}
	for range clients {
		c, err := nats.Connect(server.ClientURL())
		if err != nil {
			return nil, err
		}
		s.clients = append(s.clients, c)
		if c, err = nats.Connect("", nats.InProcessServer(server)); err != nil {
			return nil, err
		}
		s.inside = append(s.inside, c)
	}
	js, err := jetstream.New(s.clients[0])
	if err == nil {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "events", Subjects: []string{"events.>"}, Storage: jetstream.FileStorage})
	}
	return s, err
}

func (s *stream) stop() {
	for _, c := range slices.Concat(s.clients, s.inside) {
		c.Close()
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// publish has each of the clients publish one message after the other for d.
func (s *stream) publish(ctx context.Context, clients []*nats.Conn, d time.Duration) (load.Sample, error) {
	var publishers []jetstream.JetStream
	for _, c := range clients {
		js, err := jetstream.New(c)
		if err != nil {
			return load.Sample{}, err
		}
		publishers = append(publishers, js)
	}
	return each(len(publishers), d, func(client int) (bool, error) {
		_, err := publishers[client].Publish(ctx, fmt.Sprintf("events.%d", client), rig.Payload)
		return true, err
	})
}
