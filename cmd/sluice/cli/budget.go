package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/cmd/sluice/services"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/costd"
)

// BudgetCmd shows and changes the budget.
type BudgetCmd struct {
	Show   BudgetShowCmd   `cmd:"" default:"withargs" help:"Show limits, what is spent and what is left."`
	Set    BudgetSetCmd    `cmd:"" help:"Set the limits of a scope."`
	Freeze BudgetFreezeCmd `cmd:"" help:"Stop all paid calls of a scope."`
	Resume BudgetResumeCmd `cmd:"" help:"End a freeze."`
	Watch  BudgetWatchCmd  `cmd:"" help:"Follow it."`
	Accept BudgetAcceptCmd `cmd:"" name:"accept-ledger" help:"Go on with ledgers that were restored from a backup, or lost."`
}

// Help is shown by --help.
func (BudgetCmd) Help() string {
	return examples("What may be spent on paid providers, and what was. Nobody spends past a limit: work waits instead, and goes on by itself "+
		"when the window ends or the limit is raised.",
		"sluice budget", "What is spent and left",
		"sluice budget set global --day 20.00", "Allow more",
		"sluice budget freeze", "Stop everything that costs money")
}

// BudgetShowCmd shows the budget.
type BudgetShowCmd struct{ Online }

// Help is shown by --help.
func (BudgetShowCmd) Help() string {
	return examples("Shows every scope that has limits or has spent something: limits, what is spent, what is reserved on leases, what "+
		"is left, when the window ends, and what the window will have spent by then if it goes on like this. Windows are hours and days of UTC. "+
		"The scope query is for searches: their money is part of the global limits, their requests are counted there alone.",
		"sluice budget", "All scopes",
		"sluice budget set global --day 20.00", "Allow more",
		"sluice budget --json | jq 'select(.state != \"open\")'", "What is paused")
}

// BudgetSetCmd sets limits.
type BudgetSetCmd struct {
	Scope        string `arg:"" help:"global, query (searches), service.NAME or tenant.NAME."`
	Day          string `help:"Dollars a day; 'none' takes the limit away." placeholder:"DOLLARS"`
	Hour         string `help:"Dollars an hour." placeholder:"DOLLARS"`
	DayRequests  string `help:"Paid requests a day." placeholder:"N"`
	HourRequests string `help:"Paid requests an hour." placeholder:"N"`
	Force        bool   `help:"Take a service that has never been paid."`
	Online
}

// Help is shown by --help.
func (BudgetSetCmd) Help() string {
	return examples("Sets limits, live and for good; the ones that are not named stay. A raise wakes what was held within a second. "+
		"After lowering a limit nothing more is granted, and what is under way may still be charged.",
		"sluice budget set global --day 5.00 --hour-requests 100", "The defaults",
		"sluice budget set tenant.acme --day 1.50", "A limit of a tenant's own, besides the global one",
		"sluice budget set query --hour-requests 5000", "More searches; without money of its own, query has a tenth of global's",
		"sluice budget set service.openai --hour none", "No hourly limit any more")
}

// BudgetFreezeCmd freezes a scope.
type BudgetFreezeCmd struct {
	Scope string `arg:"" optional:"" default:"global" help:"global, query (searches), service.NAME or tenant.NAME."`
	Online
}

// Help is shown by --help.
func (BudgetFreezeCmd) Help() string {
	return examples("Stops paid calls at once; those under way end. The work is held, not failed.",
		"sluice budget freeze", "Everything",
		"sluice budget freeze tenant.acme", "One tenant")
}

// BudgetResumeCmd ends a freeze.
type BudgetResumeCmd struct {
	Scope string `arg:"" optional:"" default:"global" help:"global, query (searches), service.NAME or tenant.NAME."`
	Online
}

// Help is shown by --help.
func (BudgetResumeCmd) Help() string {
	return examples("Ends a freeze; what was held goes on.",
		"sluice budget resume", "Everything",
		"sluice budget resume tenant.acme", "One tenant")
}

// budgetRow is the JSON of one scope and window.
type budgetRow struct {
	Scope    budget.Scope `json:"scope"`
	Window   string       `json:"window"`
	Unit     string       `json:"unit"` // "nanodollars", "requests"
	Limit    *int64       `json:"limit,omitempty"`
	Spent    int64        `json:"spent"`
	Reserved int64        `json:"reserved"`
	Left     *int64       `json:"left,omitempty"`
	Resets   time.Time    `json:"resets"`
	Forecast int64        `json:"forecast"` // spent by the end of the window at this rate
	State    string       `json:"state"`
	Reason   string       `json:"reason"`
}

// Run shows the budget.
func (cmd BudgetShowCmd) Run(ctx context.Context, o *output) error {
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	states, err := c.budget(ctx)
	if err != nil {
		return err
	}
	if len(states) == 0 {
		return failf("no-budget", "run costd, or 'sluice up', which has it", "no budget has been shown yet: costd has never run here")
	}
	var rows []budgetRow
	for _, s := range states {
		rows = append(rows, budgetRows(s, time.Now())...)
	}
	if o.json {
		return printLines(o, rows)
	}
	cells := make([][]string, len(rows))
	amount := func(r budgetRow, v int64) string {
		if r.Unit == "requests" {
			return strconv.FormatInt(v, 10)
		}
		return budget.Dollars(v)
	}
	optional := func(r budgetRow, v *int64) string {
		if v == nil {
			return "-"
		}
		return amount(r, *v)
	}
	for i, r := range rows {
		unit := map[string]string{"requests": "requests", "nanodollars": "money"}[r.Unit]
		cells[i] = []string{
			r.Scope.Typed(), r.Window, unit, optional(r, r.Limit), amount(r, r.Spent), amount(r, r.Reserved), optional(r, r.Left),
			time.Until(r.Resets).Round(time.Minute).String(), amount(r, r.Forecast), r.State,
		}
	}
	o.table([]column{
		{title: "SCOPE"},
		{title: "WINDOW"},
		{title: "OF"},
		{title: "LIMIT", right: true},
		{title: "SPENT", right: true},
		{title: "RESERVED", right: true},
		{title: "LEFT", right: true},
		{title: "RESETS IN", right: true},
		{title: "FORECAST", right: true},
		{title: "STATE"},
	}, cells)
	for _, r := range rows {
		if r.Reserved > 0 {
			o.printf("\nRESERVED is out on leases: stages may spend it without asking again, and calls under way are in it. It becomes SPENT when a\n" +
				"call's cost is known, which takes minutes for a parse. The rest returns seconds after the last call, or a few minutes after a stage died.\n")
			break
		}
	}
	for _, s := range states {
		if s.State != "open" {
			o.printf("\n%s is %s: %s\n", s.Scope.Typed(), s.State, safe(s.Reason))
		}
	}
	return nil
}

// budgetRows is a state as rows: those with a limit or something spent.
func budgetRows(s budget.State, now time.Time) (rows []budgetRow) {
	for _, w := range s.Windows {
		if !now.Before(w.Resets) {
			continue // costd has not shown the new window yet
		}
		add := func(unit string, limit *int64, spent, reserved int64) {
			if limit == nil && spent == 0 && reserved == 0 {
				return
			}
			r := budgetRow{Scope: s.Scope, Window: w.Window, Unit: unit, Limit: limit, Spent: spent, Reserved: reserved, Resets: w.Resets, State: s.State, Reason: s.Reason}
			if limit != nil {
				left := max(0, *limit-spent-reserved)
				r.Left = &left
			}
			r.Forecast = forecast(spent, now.Sub(w.Start), w.Resets.Sub(w.Start))
			rows = append(rows, r)
		}
		add("nanodollars", w.LimitNano, w.Spent.Nano, w.Reserved.Nano)
		add("requests", w.LimitRequests, w.Spent.Requests, w.Reserved.Requests)
	}
	return rows
}

// budget reads the states of all scopes, global first.
func (c *client) budget(ctx context.Context) (states []budget.State, err error) {
	kv, err := c.js.KeyValue(ctx, events.BucketBudget)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	keys, err := kv.ListKeysFiltered(ctx, "state.>")
	if err != nil {
		return nil, fmt.Errorf("list the budget: %w", err)
	}
	for k := range keys.Keys() {
		e, err := kv.Get(ctx, k)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the budget: %w", err)
		}
		var s budget.State
		if err := json.Unmarshal(e.Value(), &s); err != nil {
			return nil, fmt.Errorf("the entry %s of the bucket %s is malformed: %w", k, events.BucketBudget, err)
		}
		states = append(states, s)
	}
	sort.Slice(states, func(i, j int) bool {
		if (states[i].Scope == budget.Global) != (states[j].Scope == budget.Global) {
			return states[i].Scope == budget.Global
		}
		return states[i].Scope < states[j].Scope
	})
	return states, nil
}

// Run sets limits.
func (cmd BudgetSetCmd) Run(ctx context.Context, o *output) error {
	change := budget.Change{}
	given := false
	for _, f := range []struct {
		name, text string
		scale      int64
		to         **int64
	}{
		{"--day", cmd.Day, 1e9, &change.DayNano},
		{"--hour", cmd.Hour, 1e9, &change.HourNano},
		{"--day-requests", cmd.DayRequests, 1, &change.DayRequests},
		{"--hour-requests", cmd.HourRequests, 1, &change.HourRequests},
	} {
		if f.text == "" {
			continue
		}
		given = true
		v, err := costd.Limit(f.text, f.scale)
		if err != nil {
			return usagef("write a decimal number that is not negative (1.50), or none", "%s: %v", f.name, err)
		}
		if v == nil {
			none := int64(-1)
			v = &none
		}
		*f.to = v
	}
	if !given {
		return usagef("use --day, --hour, --day-requests or --hour-requests", "no limit is named")
	}
	return setBudget(ctx, o, cmd.Online, cmd.Scope, change, cmd.Force)
}

// Run freezes.
func (cmd BudgetFreezeCmd) Run(ctx context.Context, o *output) error {
	frozen := true
	return setBudget(ctx, o, cmd.Online, cmd.Scope, budget.Change{Frozen: &frozen}, false)
}

// Run ends a freeze.
func (cmd BudgetResumeCmd) Run(ctx context.Context, o *output) error {
	frozen := false
	return setBudget(ctx, o, cmd.Online, cmd.Scope, budget.Change{Frozen: &frozen}, false)
}

// knows refuses a service that nothing pays: a typing error would set a limit
// that holds for nothing.
func (c *client) knows(ctx context.Context, scope budget.Scope) error {
	known := map[budget.Scope]bool{}
	for _, s := range services.Declared() {
		for _, d := range s.Stages {
			for _, p := range d.Pays {
				known[budget.Service(p.Service)] = true
			}
		}
	}
	kv, err := c.js.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	for _, prefix := range []string{budget.StateKey("service"), budget.LimitsKey("service")} {
		keys, err := kv.ListKeysFiltered(ctx, prefix+".*")
		if err != nil {
			return fmt.Errorf("list the budget: %w", err)
		}
		for k := range keys.Keys() {
			_, s, _ := strings.Cut(k, ".")
			known[budget.Scope(s)] = true
		}
	}
	if known[scope] {
		return nil
	}
	names := make([]string, 0, len(known))
	for s := range known {
		names = append(names, string(s))
	}
	slices.Sort(names)
	return usagef("use one of "+strings.Join(names, ", ")+"; --force takes a new one", "nothing was ever paid to %s", scope)
}

// leaderless says why no costd answers, and what to do. A costd that was killed is
// followed by another one, or by itself, once its silence has been noticed.
func (c *client) leaderless(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), answering)
	defer cancel()
	found, err := c.discover(ctx, answering, costd.Name)
	switch n := len(found[costd.Name]); {
	case err != nil:
		return errors.Join(cause, err)
	case n == 0:
		return failf("no-costd", "start costd, or 'sluice up', which has it; if it starts just now, try again in ten seconds", "no costd runs, so nothing was changed")
	case errors.Is(cause, nats.ErrNoResponders):
		return failf("costd-takes-over", fmt.Sprintf("try again in %d seconds; if that goes on, see costd's log", int(2*costd.Silence/time.Second)),
			"%s, but none keeps the budget yet: one that has just started takes over %d seconds after the one before it was last heard", counted(n, "costd", "runs", "run"), int(costd.Silence/time.Second))
	default:
		return failf("no-costd", "see 'sluice budget' whether the change was made, and costd's log", "costd runs, but did not answer in time")
	}
}

// setBudget has costd make a change, and says what holds now.
func setBudget(ctx context.Context, o *output, online Online, scope string, change budget.Change, force bool) error {
	var err error
	if change.Scope, err = budget.ParseScope(scope); err != nil {
		return usagef("use global, query, service.NAME or tenant.NAME", "%v", err)
	}
	c, err := online.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if change.Scope.IsService() && !force {
		if err := c.knows(ctx, change.Scope); err != nil {
			return err
		}
	}
	msg, err := c.nc.RequestWithContext(ctx, budget.SubjectSet, events.Encode(change))
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		return c.leaderless(err)
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "not-set", "the budget could not be changed")
	}
	var reply struct {
		budget.Limits
		Error string `json:"error,omitempty"`
	}
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return fmt.Errorf("costd's answer is malformed: %w", err)
	}
	if reply.Error != "" {
		return failf("not-set", "see costd's log", "costd refuses the change: %s", reply.Error)
	}
	if o.json {
		return o.line(struct {
			Scope budget.Scope `json:"scope"`
			budget.Limits
		}{change.Scope, reply.Limits})
	}
	show := func(v *int64, money bool) string {
		switch {
		case v == nil:
			return "no limit"
		case money:
			return budget.Dollars(*v)
		}
		return strconv.FormatInt(*v, 10)
	}
	o.printf("%s: %s a day, %s an hour; requests: %s a day, %s an hour\n", change.Scope.Typed(),
		show(reply.DayNano, true), show(reply.HourNano, true), show(reply.DayRequests, false), show(reply.HourRequests, false))
	if reply.Frozen {
		o.printf("%s is frozen: 'sluice budget resume %s' ends it\n", change.Scope.Typed(), change.Scope.Typed())
	}
	return nil
}
