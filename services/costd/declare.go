package costd

import (
	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
)

// Service declares the cost daemon: its stage, and what it uses of NATS.
var Service = broker.Service{
	Name:  Name,
	About: "Keeps the budget: grants what may be spent, counts what was.",
	Stages: []broker.Declaration{{
		Name: Name, In: broker.Route{Stream: events.StreamCosts}, Observer: true,
		Answers:  []string{budget.SubjectLease, budget.SubjectSet},
		Optional: true, // nothing needs it that is not paid for
	}},
	Uses: []broker.Access{
		// The whole of it at once when it takes the lead.
		{Bucket: events.BucketBudget, Keys: ">", Read: true, Write: true, Scan: true},
		{Bucket: events.BucketPipeline, Keys: MarkKey, Read: true, Write: true},
	},
	Asks: []string{
		budget.SubjectWake, budget.SubjectIdle, budget.SubjectBeat, budget.SubjectEvent + ">",
		// Leases and tenants that are over leave nothing behind, no marker either.
		"$JS.API.STREAM.PURGE." + bucketStream,
		// The ledgers are compared with the usage events.
		"$JS.API.CONSUMER.CREATE." + events.StreamCosts + ".*", "$JS.API.CONSUMER.INFO." + events.StreamCosts + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + events.StreamCosts + ".*", "$JS.API.CONSUMER.DELETE." + events.StreamCosts + ".*",
	},
	Hears:   []string{budget.SubjectBeat},
	Surveys: true, // for /scale
}
