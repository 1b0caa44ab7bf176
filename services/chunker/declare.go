package chunker

import (
	"sluice/pkg/broker"
	"sluice/pkg/events"
)

// Service declares the chunker: its stage, and what it uses of NATS.
var Service = broker.Service{
	Name:  Name,
	About: "Cuts Markdown into chunks along its structure.",
	Stages: []broker.Declaration{{
		Name: Name, In: broker.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed},
		Out:           []broker.Route{{Stream: events.StreamChunks, Subject: events.SubjectChunks}},
		Fingerprinted: true,
	}},
	Uses: []broker.Access{{Store: events.StoreBlobs, Read: true, Remove: true}},
}
