package embedder

import (
	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
)

// subjectOwners is where owners of claims answer that they live.
const subjectOwners = "sluice.owner.*"

// Service declares the embedder: its stages, and what they use of NATS.
var Service = broker.Service{
	Name:  Name,
	About: "Gives every chunk a vector.",
	Stages: []broker.Declaration{{
		Name: Name, In: broker.Route{Stream: events.StreamChunks, Subject: events.SubjectChunks},
		Out: []broker.Route{
			{Stream: events.StreamVectors, Subject: events.SubjectVectors},
			{Stream: events.StreamUpgrades, Subject: events.SubjectUpgrade},
		},
		Tells:         []events.What{events.Embedded, events.Superseded},
		Answers:       []string{events.SubjectEmbed},
		Pays:          []broker.Payment{{Service: "openai", Operation: "embed"}, {Service: "openai", Operation: budget.OperationQuery}},
		Fingerprinted: true,
	}, {
		Name: Upgrader, In: broker.Route{Stream: events.StreamUpgrades, Subject: events.SubjectUpgrade},
		Out:      []broker.Route{{Stream: events.StreamVectors, Subject: events.SubjectVectors}},
		Tells:    []events.What{events.Embedded},
		Optional: true, // it runs where a fallback stands in for a service
	}},
	Uses: []broker.Access{
		{Bucket: events.BucketDocuments, Keys: "*", Read: true},
		{Bucket: events.BucketCache, Keys: "embedding.*.*", Read: true, Write: true},
		{Bucket: events.BucketClaims, Keys: "embedding.*.*", Read: true, Write: true},
		// A configuration whose paid answers cannot be used halts all replicas that have it.
		{Bucket: events.BucketPipeline, Keys: "halt.embedder.*", Read: true, Write: true, Watch: true},
	},
	// Whether a claim's owner lives.
	Asks:  []string{subjectOwners},
	Hears: []string{subjectOwners},
}
