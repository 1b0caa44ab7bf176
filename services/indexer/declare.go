package indexer

import (
	"sluice/pkg/broker"
	"sluice/pkg/events"
)

// Recorder is the name of the stage that keeps the states of documents.
const Recorder = "recorder"

// Service declares the indexer: its stages, and what they use of NATS.
var Service = broker.Service{
	Name:  Name,
	About: "Makes documents searchable and keeps their state.",
	Stages: []broker.Declaration{{
		Name: Name, In: broker.Route{Stream: events.StreamVectors, Subject: events.SubjectVector},
		Tells:   []events.What{events.Indexed, events.Completed, events.Downgraded, events.Duplicated, events.Deleted, events.Superseded},
		Answers: []string{events.SubjectSearch},
	}, {
		Name: Recorder, In: broker.Route{Stream: events.StreamEvents}, Observer: true,
	}},
	Uses: []broker.Access{{Bucket: events.BucketDocuments, Keys: "*", Read: true, Write: true}},
	Asks: []string{
		events.SubjectEmbed, // for the query's vector
		// Final states, for submitters that ask for them.
		broker.InboxPrefix(broker.UserInjector) + ".>", broker.InboxPrefix(broker.UserOperator) + ".>",
	},
}
