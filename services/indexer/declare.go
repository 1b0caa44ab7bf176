package indexer

import (
	"sluice/pkg/broker"
	"sluice/pkg/clock"
	"sluice/pkg/events"
)

// Recorder is the name of the stage that keeps the states of documents.
const Recorder = "recorder"

// Service declares the indexer: its stages, and what they use of NATS.
var Service = broker.Service{
	Name:  Name,
	About: "Makes documents searchable and keeps their state.",
	Stages: []broker.Declaration{{
		Name: Name, In: broker.Route{Stream: events.StreamVectors, Subject: events.SubjectVectors},
		Tells:   []events.What{events.Indexed, events.Completed, events.Downgraded, events.Duplicated, events.Deleted, events.Superseded},
		Answers: []string{events.SubjectSearch},
	}, {
		Name: Recorder, In: broker.Route{Stream: events.StreamEvents}, Observer: true,
	}},
	Uses: []broker.Access{
		{Bucket: events.BucketDocuments, Keys: "*", Read: true, Write: true, Scan: true},
		{Bucket: events.BucketPipeline, Keys: clock.Key, Read: true, Write: true},
		{Store: events.StoreBlobs, Remove: true}, // bodies of dead letters that have ended
	},
	Surveys: true, // whether anything of a document is under way
	Asks: append(reads(),
		// Dead letters end when their documents succeed.
		"$JS.API.CONSUMER.CREATE."+events.StreamDeadLetter+".>", "$JS.API.CONSUMER.INFO."+events.StreamDeadLetter+".*",
		"$JS.API.CONSUMER.MSG.NEXT."+events.StreamDeadLetter+".*", "$JS.API.CONSUMER.DELETE."+events.StreamDeadLetter+".*",
		"$JS.API.STREAM.MSG.DELETE."+events.StreamDeadLetter,
		events.SubjectEmbed, // for the query's vector
		// Final states, for submitters that ask for them.
		broker.InboxPrefix(broker.UserInjector)+".>", broker.InboxPrefix(broker.UserOperator)+".>",
	),
}

// underWay are the streams through which a document passes.
var underWay = []string{
	events.StreamDocuments, events.StreamHeld, events.StreamParsed, events.StreamChunks, events.StreamUpgrades, events.StreamVectors,
}

// reads returns the subjects by which messages that are under way are read.
func reads() []string {
	var all []string
	for _, s := range underWay {
		all = append(all, "$JS.API.STREAM.MSG.GET."+s)
	}
	return all
}
