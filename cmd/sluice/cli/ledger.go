package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// BudgetAcceptCmd ends a doubt about the ledgers.
type BudgetAcceptCmd struct {
	Yes bool `help:"Accept without asking."`
	Online
}

// Help is shown by --help.
func (BudgetAcceptCmd) Help() string {
	return examples("costd grants nothing while the ledgers are older than they once were: the bucket budget was restored from a backup, or deleted. "+
		"If there is a newer backup, restore that one. Else this command shows what the ledgers say was spent and what the usage events in "+
		"COSTS say, and asks. Accepted ledgers count what the usage events say. What nobody has told of is lost: compare with the provider's "+
		"own figures, and lower the limits by it ('sluice budget set').",
		"sluice budget accept-ledger", "What is lost? And accept it",
		"sluice budget accept-ledger --yes --json", "In a script")
}

// acceptedRow is the JSON of one window.
type acceptedRow struct {
	Window   string `json:"window"`
	Ledger   int64  `json:"ledger_nano"`
	Costs    int64  `json:"costs_nano"`
	Lost     int64  `json:"lost_nano"`
	Limit    *int64 `json:"limit_nano,omitempty"`
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason"`
}

// Run shows what is lost, asks, and accepts.
func (cmd BudgetAcceptCmd) Run(ctx context.Context, o *output) error {
	c, err := cmd.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	d, err := c.doubt(ctx, budget.Change{Scope: budget.Global, Ledger: budget.LedgerShow})
	if err != nil {
		return err
	}
	if d.Error != "" {
		return failf("ledger", "see costd's log", "%s", d.Error)
	}
	if d.Reason == "" {
		if o.json {
			return nil
		}
		o.printf("The ledgers are in order: costd grants, and there is nothing to accept.\n")
		return nil
	}
	if !o.json {
		showDoubt(o, d)
	}
	if !cmd.Yes {
		if o.json {
			return usagef("add --yes", "with --json nobody can be asked")
		}
		o.printf("\nAccept these ledgers? Type yes: ")
		line, err := bufio.NewReader(o.In).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if strings.TrimSpace(line) != "yes" {
			return failf("not-accepted", "costd grants nothing until they are accepted, or a newer backup is restored", "nothing was changed")
		}
	}
	if wait := time.Until(d.Until); wait > 0 {
		o.notef("stages may still spend from leases of the lost ledgers; waiting until %s UTC\n", d.Until.UTC().Format(time.TimeOnly))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait + 100*time.Millisecond):
		}
	}
	accept := budget.Change{Scope: budget.Global, Ledger: budget.LedgerAccept, Mark: d.Mark}
	done, err := c.doubt(ctx, accept)
	if err != nil {
		return err
	}
	if !done.Accepted && done.Reason != "" {
		return failf("not-accepted", "look again: sluice budget accept-ledger", "%s", done.Error)
	}
	if o.json {
		var rows []acceptedRow
		for _, w := range done.Rows {
			rows = append(rows, acceptedRow{w.Window, w.Ledger, w.Costs, w.Lost(), w.Limit, done.Accepted, done.Reason})
		}
		return printLines(o, rows)
	}
	o.printf("Accepted. costd grants again, and counts what the usage events say was spent.\n")
	return nil
}

// showDoubt prints what is lost.
func showDoubt(o *output, d budget.Doubt) {
	o.printf("costd grants nothing: %s.\n\n", safe(d.Reason))
	cells := make([][]string, len(d.Rows))
	lost := int64(0)
	for i, w := range d.Rows {
		limit := "-"
		if w.Limit != nil {
			limit = budget.Dollars(*w.Limit)
		}
		cells[i] = []string{w.Window, budget.Dollars(w.Ledger), budget.Dollars(w.Costs), budget.Dollars(w.Lost()), limit}
		lost = max(lost, w.Lost())
	}
	o.table([]column{
		{title: "WINDOW"},
		{title: "LEDGER SAYS", right: true},
		{title: "COSTS SAY", right: true},
		{title: "LOST", right: true},
		{title: "LIMIT", right: true},
	}, cells)
	o.printf("\nThe ledgers have forgotten %s that %d usage events of today tell of. If you accept, it is counted again.\n", budget.Dollars(lost), d.Events)
	o.printf("What no usage event tells of stays lost: compare with the provider's own figures before you accept.\n")
	o.printf("A newer backup of the bucket %s is better: restore it, and costd goes on by itself.\n", events.BucketBudget)
}

// doubt asks costd about the ledgers.
func (c *client) doubt(ctx context.Context, change budget.Change) (d budget.Doubt, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // it reads the usage events of a day
	defer cancel()
	msg, err := c.nc.RequestWithContext(ctx, budget.SubjectSet, events.Encode(change))
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		return d, c.leaderless(err)
	}
	if err != nil {
		return d, fault.Wrap(err, fault.Unavailable, "no-answer", "costd cannot be asked")
	}
	if err := json.Unmarshal(msg.Data, &d); err != nil {
		return d, fmt.Errorf("costd's answer is malformed: %w", err)
	}
	return d, nil
}
