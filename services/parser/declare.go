package parser

import (
	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/clock"
	"sluice/pkg/events"
)

// Names of the stages besides the parser itself.
const (
	Inbox    = "inbox"
	Reparser = "reparser"
)

// Service declares the parser: its stages, and what they use of NATS.
var Service = broker.Service{
	Name:  Name,
	About: "Turns submitted documents into Markdown.",
	Stages: []broker.Declaration{{
		Name: Name, In: broker.Route{Stream: events.StreamDocuments},
		Out: []broker.Route{
			{Stream: events.StreamParsed, Subject: events.SubjectParsed},
			{Stream: events.StreamVectors, Subject: events.SubjectVectors}, // deletions and duplicates
			{Stream: events.StreamUpgrades, Subject: events.SubjectReparse},
		},
		Tells:         []events.What{events.Accepted, events.ParsedWhat, events.Superseded},
		Pays:          []broker.Payment{{Service: "llamaparse", Operation: "parse"}},
		Fingerprinted: true,
	}, {
		Name:     Inbox,
		In:       broker.Route{Stream: "OBJ_" + events.StoreInbox, Subject: "$O." + events.StoreInbox + ".M.>"},
		Out:      []broker.Route{{Stream: events.StreamDocuments, Subject: events.SubjectURI}},
		Optional: true,
	}, {
		Name: Reparser, In: broker.Route{Stream: events.StreamUpgrades, Subject: events.SubjectReparse},
		Out:      []broker.Route{{Stream: events.StreamParsed, Subject: events.SubjectParsed}},
		Tells:    []events.What{events.ParsedWhat, events.Superseded},
		Optional: true, // it runs where a fallback stands in for a service
	}},
	Uses: []broker.Access{
		{Bucket: events.BucketDocuments, Keys: "*", Read: true},
		{Bucket: events.BucketPipeline, Keys: "chunker", Watch: true},
		{Bucket: events.BucketPipeline, Keys: "embedder", Watch: true},
		{Bucket: events.BucketPipeline, Keys: clock.Key, Read: true, Write: true, Watch: true},
		{Bucket: events.BucketJobs, Keys: "*", Read: true, Write: true},
		{Store: events.StoreInbox, Read: true, Remove: true},
		{Store: events.StoreBlobs, Read: true, Write: true}, // what waits for a better parse
		{Store: events.StoreParses, Read: true, Write: true},
	},
	// Whether the owner of a create lives.
	Asks:  []string{budget.SubjectJobOwners},
	Hears: []string{budget.SubjectJobOwners},
}
