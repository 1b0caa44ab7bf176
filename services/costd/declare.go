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
	Asks:    []string{budget.SubjectWake, budget.SubjectIdle, budget.SubjectEvent + ">"},
	Surveys: true, // for /scale
}
