package cli

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
)

// CostCmd tells what paid providers did cost.
type CostCmd struct {
	Show      CostShowCmd      `cmd:"" default:"withargs" help:"Show what was spent, and on what."`
	Reconcile CostReconcileCmd `cmd:"" help:"Compare with the provider's own figures."`
}

// Help is shown by --help.
func (CostCmd) Help() string {
	return examples("What paid providers did cost, from the usage events: one an attempt, kept for 400 days. Attempts whose outcome nobody "+
		"knows count with the most that they can have cost.",
		"sluice cost", "By service, of the last 7 days",
		"sluice cost --by document --since 24h", "The dearest documents of a day",
		"sluice cost reconcile openai-costs.json", "Does the provider's bill say the same?")
}

// CostShowCmd shows costs.
type CostShowCmd struct {
	By     string `default:"service" enum:"service,operation,tenant,document,model,day,hour" help:"What to add up by: ${enum}."`
	Since  string `default:"7d" help:"From when on: a duration (36h, 7d) or a day (2026-11-20), in UTC." placeholder:"WHEN"`
	Tenant string `help:"Whose costs." placeholder:"NAME"`
	CSV    bool   `name:"csv" help:"Print comma-separated values; money in nano-dollars."`
	Online
}

// Help is shown by --help.
func (CostShowCmd) Help() string {
	return examples("Adds the usage events up. SPENT is what was booked; of it UNKNOWN is for attempts whose answer was lost, at the most that "+
		"they can have cost; SAVED is what caches spared. Below the table: today, and what today will have cost at this rate.",
		"sluice cost --by day", "The last 7 days",
		"sluice cost --by tenant --since 2026-11-01 --csv", "A month's bill by tenant",
		"sluice cost --by document --json | head", "The dearest documents")
}

// CostReconcileCmd compares with a bill.
type CostReconcileCmd struct {
	File    string `arg:"" type:"path" help:"The provider's figures: CSV with the columns day and dollars, or the JSON of OpenAI's costs endpoint."`
	Service string `default:"openai" help:"Whose figures they are." placeholder:"NAME"`
	Online
}

// Help is shown by --help.
func (CostReconcileCmd) Help() string {
	return examples("Compares the provider's figures with the usage events, day by day (UTC). A day agrees if the provider's figure lies between "+
		"what is known to be spent and what is booked; else the exit code is 1.",
		"sluice cost reconcile bill.csv --service llamaparse", "A bill that you have typed",
		"sluice cost reconcile openai-costs.json", "GET /v1/organization/costs, saved")
}

// costRow is one line of a table of costs, and its JSON.
type costRow struct {
	Key     string `json:"key"`
	Name    string `json:"name,omitempty"` // of a document
	Calls   int    `json:"calls"`
	Tokens  int    `json:"tokens"`
	Pages   int    `json:"pages"`
	Nano    int64  `json:"nano"`         // booked
	Unknown int64  `json:"unknown_nano"` // of it, for attempts without an answer
	Saved   int64  `json:"saved_nano"`
}

func (r *costRow) add(u *events.Usage, tokens, pages int, nano, saved int64) {
	if u.Outcome == events.OutcomeReused {
		r.Saved += saved
		return
	}
	r.Calls++
	r.Tokens, r.Pages, r.Nano = r.Tokens+tokens, r.Pages+pages, r.Nano+nano
	if u.Outcome == events.OutcomeUnknown {
		r.Unknown += nano
	}
}

// usage calls f with every usage event from a moment on. What is no usage event
// is counted and left out.
func (c *client) usage(ctx context.Context, since time.Time, f func(*events.Usage)) (bad int, err error) {
	s, err := c.js.Stream(ctx, events.StreamCosts)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open the stream %s: %w", events.StreamCosts, err)
	}
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since})
	if err != nil {
		return 0, fmt.Errorf("read the stream %s: %w", events.StreamCosts, err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the stream %s: %w", events.StreamCosts, err)
	}
	for left := info.NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, 1000)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return bad, fmt.Errorf("read the stream %s: %w", events.StreamCosts, err)
		}
		n := 0
		for m := range batch.Messages() {
			n++
			left--
			u, err := events.Decode[events.Usage](m.Data())
			if err != nil {
				bad++
				continue
			}
			f(u)
		}
		if err := batch.Error(); err != nil {
			return bad, fmt.Errorf("read the stream %s: %w", events.StreamCosts, err)
		}
		if n == 0 {
			return bad, failf("costs-incomplete", "try again; see 'nats stream info COSTS'", "the stream %s stopped with %d events to go", events.StreamCosts, left)
		}
	}
	return bad, nil
}

// since reads "36h", "7d" or "2026-11-20".
func since(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 10_000 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	return time.Time{}, usagef("write a duration (36h, 7d) or a day (2026-11-20)", "--since %q is neither", text)
}

// Run shows the costs.
func (cmd CostShowCmd) Run(ctx context.Context, o *output) error {
	now := time.Now().UTC()
	from, err := since(cmd.Since, now)
	if err != nil {
		return err
	}
	if cmd.CSV && o.json {
		return usagef("leave one of the two out", "--csv and --json exclude each other")
	}
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	rows := map[string]*costRow{}
	row := func(key string) *costRow {
		if rows[key] == nil {
			rows[key] = &costRow{Key: key}
		}
		return rows[key]
	}
	var total costRow
	var today, before int64
	midnight := now.Truncate(24 * time.Hour)
	bad, err := c.usage(ctx, from, func(u *events.Usage) {
		if u.Time.Before(from) || cmd.Tenant != "" && (u.Tenant != cmd.Tenant || u.Operation == budget.OperationQuery) {
			return
		}
		total.add(u, u.Tokens, u.Pages, u.Nano, u.Saved)
		if at := u.Time.UTC(); !at.Before(midnight) {
			today += u.Nano
		} else if !at.Before(midnight.AddDate(0, 0, -7)) {
			before += u.Nano
		}
		if cmd.By != "document" {
			row(costKey(cmd.By, u)).add(u, u.Tokens, u.Pages, u.Nano, u.Saved)
			return
		}
		rest := u.Nano
		for _, s := range u.Shares {
			saved := int64(0)
			if u.Tokens > 0 {
				saved = u.Saved * int64(s.Tokens) / int64(u.Tokens)
			} else if len(u.Shares) == 1 {
				saved = u.Saved
			}
			row(s.Document).add(u, s.Tokens, s.Pages, s.Nano, saved)
			rest -= s.Nano
		}
		if rest > 0 || len(u.Shares) == 0 {
			row("(no document)").add(u, 0, 0, rest, u.Saved)
		}
	})
	if err != nil {
		return err
	}
	list := make([]*costRow, 0, len(rows))
	for _, r := range rows {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *costRow) int {
		if cmd.By == "day" || cmd.By == "hour" {
			return cmp.Compare(a.Key, b.Key)
		}
		return cmp.Or(cmp.Compare(b.Nano, a.Nano), cmp.Compare(b.Saved, a.Saved), cmp.Compare(a.Key, b.Key))
	})
	if cmd.By == "document" {
		for _, r := range list[:min(len(list), 1000)] {
			if d, err := c.get(ctx, r.Key); err == nil && d != nil {
				r.Name = d.Name
			}
		}
	}
	if bad > 0 {
		o.notef("%d messages of the stream %s are no usage events and were left out\n", bad, events.StreamCosts)
	}
	switch {
	case o.json:
		return printLines(o, list)
	case cmd.CSV:
		return costCSV(o, cmd.By, list)
	case len(list) == 0:
		o.printf("Nothing was spent since %s UTC.\n", from.Format("2006-01-02 15:04"))
		return nil
	}
	cells := make([][]string, 0, len(list)+1)
	total.Key = "total"
	for _, r := range append(list, &total) {
		cells = append(cells, []string{
			safe(cmp.Or(r.Name, r.Key)), strconv.Itoa(r.Calls), strconv.Itoa(r.Tokens), strconv.Itoa(r.Pages),
			budget.Dollars(r.Nano), budget.Dollars(r.Unknown), budget.Dollars(r.Saved),
		})
	}
	o.table([]column{
		{title: strings.ToUpper(cmd.By)},
		{title: "CALLS", right: true},
		{title: "TOKENS", right: true},
		{title: "PAGES", right: true},
		{title: "SPENT", right: true},
		{title: "UNKNOWN", right: true},
		{title: "SAVED", right: true},
	}, cells)
	o.printf("\nToday: %s; at this rate %s by midnight UTC.", budget.Dollars(today), budget.Dollars(forecast(today, now.Sub(midnight), 24*time.Hour)))
	if days := min(7, int(midnight.Sub(from.Truncate(24*time.Hour)).Hours()/24)); days > 0 {
		o.printf(" The %d days before: %s a day.", days, budget.Dollars(before/int64(days)))
	}
	o.printf("\n")
	return nil
}

// forecast is what a window will have cost at the rate so far.
func forecast(spent int64, gone, whole time.Duration) int64 {
	if gone <= time.Minute {
		return spent
	}
	return int64(float64(spent) * whole.Seconds() / gone.Seconds())
}

func costKey(by string, u *events.Usage) string {
	switch by {
	case "operation":
		return u.Service + "/" + u.Operation
	case "tenant":
		if u.Operation == budget.OperationQuery {
			return "(searches)" // of all tenants
		}
		return u.Tenant
	case "model":
		return u.Service + "/" + u.Model
	case "day":
		return u.Time.UTC().Format(time.DateOnly)
	case "hour":
		return u.Time.UTC().Format("2006-01-02T15")
	}
	return u.Service
}

func costCSV(o *output, by string, rows []*costRow) error {
	w := csv.NewWriter(o.Out)
	if err := w.Write([]string{by, "name", "calls", "tokens", "pages", "nano", "unknown_nano", "saved_nano"}); err != nil {
		return err
	}
	for _, r := range rows {
		i := func(v int64) string { return strconv.FormatInt(v, 10) }
		name := r.Name
		if name != "" && strings.ContainsRune("=+-@", rune(name[0])) {
			name = "'" + name // a spreadsheet must not take a file's name for a formula
		}
		if err := w.Write([]string{r.Key, name, strconv.Itoa(r.Calls), strconv.Itoa(r.Tokens), strconv.Itoa(r.Pages), i(r.Nano), i(r.Unknown), i(r.Saved)}); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// reconciled is one day of a comparison.
type reconciled struct {
	Day      string `json:"day"`
	Provider int64  `json:"provider_nano"`
	Booked   int64  `json:"booked_nano"`
	Unknown  int64  `json:"unknown_nano"` // of what is booked
	Agrees   bool   `json:"agrees"`
}

// Run compares.
func (cmd CostReconcileCmd) Run(ctx context.Context, o *output) error {
	data, err := os.ReadFile(cmd.File)
	if err != nil {
		return failf("unreadable", "check the path", "%v", err)
	}
	bill, err := readBill(data)
	if err != nil {
		return usagef("give CSV with the columns day and dollars, or the JSON of OpenAI's costs endpoint", "%s: %v", cmd.File, err)
	}
	days := make([]string, 0, len(bill))
	for d := range bill {
		days = append(days, d)
	}
	slices.Sort(days)
	from, err := time.Parse(time.DateOnly, days[0])
	if err != nil {
		return usagef("write days as 2026-11-20", "%s: %v", cmd.File, err)
	}
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	ours := map[string]*costRow{}
	if _, err := c.usage(ctx, from, func(u *events.Usage) {
		if u.Service != cmd.Service {
			return
		}
		day := u.Time.UTC().Format(time.DateOnly)
		if ours[day] == nil {
			ours[day] = &costRow{}
		}
		ours[day].add(u, u.Tokens, u.Pages, u.Nano, 0)
	}); err != nil {
		return err
	}
	rows := make([]reconciled, len(days))
	wrong := 0
	for i, d := range days {
		r := reconciled{Day: d, Provider: bill[d]}
		if have := ours[d]; have != nil {
			r.Booked, r.Unknown = have.Nano, have.Unknown
		}
		// Bills are rounded, to a hundredth of a cent at best.
		const rounding = 100_000
		r.Agrees = r.Provider >= r.Booked-r.Unknown-rounding && r.Provider <= r.Booked+rounding
		if !r.Agrees {
			wrong++
		}
		rows[i] = r
	}
	if o.json {
		err = printLines(o, rows)
	} else {
		cells := make([][]string, len(rows))
		for i, r := range rows {
			cells[i] = []string{
				r.Day, budget.Dollars(r.Provider), budget.Dollars(r.Booked), budget.Dollars(r.Unknown), budget.Dollars(r.Provider - r.Booked),
				map[bool]string{true: "agrees", false: "DIFFERS"}[r.Agrees],
			}
		}
		o.table([]column{
			{title: "DAY"},
			{title: strings.ToUpper(cmd.Service), right: true},
			{title: "BOOKED", right: true},
			{title: "OF IT UNKNOWN", right: true},
			{title: "DIFFERENCE", right: true},
			{title: ""},
		}, cells)
	}
	if err == nil && wrong > 0 {
		err = failf("bill-differs", "see 'sluice cost --by hour --since DAY'; another program may use the same account", "%d of %d days differ", wrong, len(rows))
	}
	return err
}

// amount reads a decimal number, also as JSON writes small ones: 1.5e-05.
func amount(text string) (*big.Rat, bool) {
	digits, exponent, scientific := strings.Cut(strings.ToLower(text), "e")
	v, ok := budget.Decimal(digits)
	if !ok || !scientific {
		return v, ok
	}
	n, err := strconv.Atoi(exponent)
	if err != nil || n < -30 || n > 12 {
		return nil, false
	}
	ten := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(n, -n))), nil))
	if n < 0 {
		return v.Quo(v, ten), true
	}
	return v.Mul(v, ten), true
}

// readBill reads a provider's figures: nano-dollars by day.
func readBill(data []byte) (map[string]int64, error) {
	bill := map[string]int64{}
	add := func(day, dollars string) error {
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			return fmt.Errorf("%q is not a day", events.CleanHeader(day, 40))
		}
		v, ok := amount(strings.TrimPrefix(strings.TrimSpace(dollars), "$"))
		if !ok || v.Cmp(big.NewRat(1e9, 1)) > 0 {
			return fmt.Errorf("%q is not an amount of dollars", events.CleanHeader(dollars, 40))
		}
		v.Mul(v, big.NewRat(1e9, 1))
		bill[day] += new(big.Int).Quo(v.Num(), v.Denom()).Int64()
		return nil
	}
	if text := strings.TrimSpace(string(data)); strings.HasPrefix(text, "{") {
		var v struct {
			Data []struct {
				Start   int64 `json:"start_time"`
				Results []struct {
					Amount struct {
						Value    json.Number `json:"value"`
						Currency string      `json:"currency"`
					} `json:"amount"`
				} `json:"results"`
			} `json:"data"`
		}
		if err := json.Unmarshal(data, &v); err != nil {
			return nil, err
		}
		for _, b := range v.Data {
			day := time.Unix(b.Start, 0).UTC().Format(time.DateOnly)
			bill[day] += 0
			for _, r := range b.Results {
				if r.Amount.Currency != "" && !strings.EqualFold(r.Amount.Currency, "usd") {
					return nil, fmt.Errorf("amounts in %q", r.Amount.Currency)
				}
				if err := add(day, r.Amount.Value.String()); err != nil {
					return nil, err
				}
			}
		}
	} else {
		records, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))).ReadAll()
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return nil, errors.New("it is empty")
		}
		day := slices.Index(records[0], "day")
		dollars := slices.Index(records[0], "dollars")
		if day < 0 || dollars < 0 {
			return nil, errors.New("the columns day and dollars are not both in the first line")
		}
		for i, r := range records[1:] {
			if err := add(r[day], r[dollars]); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+2, err)
			}
		}
	}
	if len(bill) == 0 {
		return nil, errors.New("it has no days")
	}
	return bill, nil
}
