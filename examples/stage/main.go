// Command redactor is a stage outside the tree of Sluice. It stands between the
// parser and the chunker, and no address of a mail gets past it.
package main

import (
	"context"
	"os"
	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/stage"
)

const (
	name    = "redactor"
	queue   = "REDACTED"
	subject = "docs.redacted"
)

// service is all that anybody is told of the stage: its streams, its consumer, the
// rights of its NATS user and its place before the chunker follow from it.
var service = stage.Service{
	Name:  name,
	About: "Blacks out addresses of mails.",
	Stages: []stage.Declaration{{
		Name: name,
		In:   stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed},
		Out:  []stage.Route{{Stream: queue, Subject: subject}},
	}},
	Streams: []broker.Stream{broker.Queue(queue, subject)},
	Feeds:   map[string]string{"chunker": queue},
	Uses:    []broker.Access{{Store: events.StoreBlobs, Read: true, Write: true}}, // documents of any size
}

type config struct {
	Workers int `env:"REDACTOR_WORKERS" default:"2" help:"Documents redacted at once."`
}

func main() {
	os.Exit(stage.Main(service, func(_ context.Context, _ *stage.Env, cfg *config) ([]stage.Stage, func() error, error) {
		return []stage.Stage{{
			Declaration: service.Stage(name), Workers: cfg.Workers,
			Handle: handle,
		}}, nil, nil
	}))
}

// handle is the stage.
func handle(_ context.Context, m *stage.Message) error {
	p, err := events.Decode[events.Parsed](m.Data)
	if err != nil {
		return err
	}
	p.Markdown = redact(p.Markdown)
	m.Publish(subject, events.TypeParsed, "", events.Encode(p))
	return nil
}
