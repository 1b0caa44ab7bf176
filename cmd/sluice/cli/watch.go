package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
)

// BudgetWatchCmd follows the budget.
type BudgetWatchCmd struct{ Online }

// Help is shown by --help.
func (BudgetWatchCmd) Help() string {
	return examples("Prints a line whenever what is shown of a scope changes, until it is interrupted; first, how things stand. "+
		"'nats kv watch budget' shows the same as it is stored.",
		"sluice budget watch", "Follow everything",
		"sluice budget watch --json | jq 'select(.state != \"open\")'", "What is near its limit, or paused")
}

// Run follows the budget until ctx ends.
func (cmd BudgetWatchCmd) Run(ctx context.Context, o *output) error {
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	kv, err := c.js.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	w, err := kv.Watch(ctx, "state.>", jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("watch the bucket %s: %w", events.BucketBudget, err)
	}
	defer func() { _ = w.Stop() }() // the connection closes next
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			if !ok {
				return nil
			}
			if e == nil {
				continue
			}
			var s budget.State
			if err := json.Unmarshal(e.Value(), &s); err != nil {
				o.notef("%s is malformed: %v\n", e.Key(), err)
				continue
			}
			for _, r := range budgetRows(s, time.Now()) {
				if o.json {
					if err := o.line(r); err != nil {
						return err
					}
					continue
				}
				amount := func(v int64) string {
					if r.Unit == "requests" {
						return fmt.Sprint(v, " requests")
					}
					return budget.Dollars(v)
				}
				limit := "no limit"
				if r.Limit != nil {
					limit = "of " + amount(*r.Limit)
				}
				o.printf("%s  %s/%s  %s %s, %s reserved  %s\n", s.Time.Format("15:04:05"), r.Scope.Typed(), r.Window, amount(r.Spent), limit, amount(r.Reserved), r.State)
			}
		}
	}
}
