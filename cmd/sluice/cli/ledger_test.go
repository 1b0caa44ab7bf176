package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

// The budget's bucket is restored from a backup after money was spent. Nothing is
// bought until somebody has seen what is lost. The provider's meter never passes
// the limit.
func TestARestoredLedgerIsAcceptedByAPerson(t *testing.T) {
	const limit = 60_000
	server, node := paidWith(t, "0.00006", "none", func(c *allinone.Config) {
		c.Stages.Costd.Lease, c.Stages.Costd.Margin = time.Second, time.Second
		c.Stages.Embedder.Batch, c.Stages.Embedder.Workers = 4, 1
	})
	sluice(t, "budget", "accept-ledger").want(t, 0).has(t, "in order")
	backup := natstest.TakeBackup(t, node.Env.Conn, "KV_"+events.BucketBudget)
	files := ferries(400)
	in(t, files)
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", "d") }()
	spent := func() int64 {
		m := server.Meter()
		if m.Nano > limit {
			t.Fatalf("the meter says %d n$, the limit is %d", m.Nano, limit)
		}
		return m.Nano
	}
	eventually(t, "half of the limit is spent", func() bool { return spent() > limit/2 })
	if err := node.Env.JS.DeleteStream(t.Context(), "KV_"+events.BucketBudget); err != nil {
		t.Fatal(err)
	}
	backup.Restore(t, node.Env.Conn, "KV_"+events.BucketBudget)
	eventually(t, "the doubt is shown", func() bool {
		spent()
		return strings.Contains(sluice(t, "budget", "accept-ledger").out, "costd grants nothing")
	})
	before := int64(-1)
	eventually(t, "stages have spent what they held", func() bool {
		time.Sleep(500 * time.Millisecond) // the standstill is a time without calls
		was := before
		before = spent()
		return was == before
	})
	sluice(t, "budget", "set", "global", "--day", "5").want(t, 1)
	r := sluiceWith(t, "no\n", "budget", "accept-ledger").want(t, 1).has(t, "LEDGER SAYS", "COSTS SAY", "LOST", budget.Dollars(spent()))
	if !strings.Contains(r.err, "nothing was changed") {
		t.Errorf("%s", r.err)
	}
	sluice(t, "budget", "accept-ledger", "--json").want(t, 2) // nobody can be asked
	rows := lines[acceptedRow](t, sluice(t, "budget", "accept-ledger", "--yes", "--json").want(t, 0))
	if len(rows) != 2 || !rows[1].Accepted || rows[1].Costs < before || rows[1].Lost <= 0 {
		t.Errorf("%+v", rows)
	}
	sluice(t, "budget", "accept-ledger").want(t, 0).has(t, "in order")
	// It goes on to the limit, and no further.
	eventually(t, "the limit", func() bool {
		spent()
		return strings.Contains(sluice(t, "budget").out, "but for") || spent() > limit*9/10
	})
	sluice(t, "budget", "set", "global", "--day", "5").want(t, 0)
	(<-done).want(t, 0)
}

// A typing error sets no limit, and only decimal numbers are amounts.
func TestWhatABudgetTakes(t *testing.T) {
	_, _ = paid(t, "5.00", "none")
	r := sluice(t, "budget", "set", "service.openia", "--day", "1").want(t, 2)
	if !strings.Contains(r.err, "service.openai") || !strings.Contains(r.err, "service.llamaparse") {
		t.Errorf("%s", r.err)
	}
	sluice(t, "budget", "freeze", "service.openia").want(t, 2)
	for _, scope := range []string{"tenant.a b", "tenant.Ä", "tenant. acme", "tenant." + strings.Repeat("x", 65)} { // nobody can be called so
		sluice(t, "budget", "set", scope, "--day", "1").want(t, 2).says(t, "no tenant can be called")
	}
	sluice(t, "budget", "set", "tenant.acme.eu", "--day", "1").want(t, 0).has(t, "tenant.acme.eu: $1.00")
	sluice(t, "budget", "freeze", "tenant.acme.eu").want(t, 0).has(t, "'sluice budget resume tenant.acme.eu' ends it")
	eventually(t, "it is shown as it is typed", func() bool { return strings.Contains(sluice(t, "budget").out, "\ntenant.acme.eu is ") })
	sluice(t, "budget", "resume", "tenant.acme.eu").want(t, 0)
	sluice(t, "budget", "set", "service.openai", "--day", "1").want(t, 0)
	sluice(t, "budget", "set", "service.elsewhere", "--day", "1", "--force").want(t, 0)
	sluice(t, "budget", "set", "service.elsewhere", "--day", "2").want(t, 0) // known by now
	for _, text := range []string{"0x10", "1e3", "1/3", "1_000", "+5", "-1", "", " 5", "5.", "NaN", "Inf"} {
		sluice(t, "budget", "set", "global", "--day="+text).want(t, 2)
	}
	sluice(t, "budget", "set", "global", "--day", "16.5", "--hour", ".5").want(t, 0).has(t, "$16.50 a day", "$0.50 an hour")
	sluice(t, "budget", "set", "query", "--hour-requests", "5").want(t, 0).has(t, "query: no limit a day", "5 an hour")
}

// Searches do not use up ingestion's requests, nor ingestion theirs.
func TestSearchesHaveABudgetOfTheirOwn(t *testing.T) {
	server, _ := paidWith(t, "5.00", "3", func(c *allinone.Config) {
		c.Stages.Costd.QueryRequests = "1000"
		c.Stages.Embedder.Batch, c.Stages.Embedder.Workers = 1, 1
	})
	in(t, ferries(2))
	sluice(t, "ingest", "d").want(t, 0)
	for i := range 20 {
		sluice(t, "search", fmt.Sprint("a ferry with the number ", i)).want(t, 0)
	}
	if m := server.Meter(); m.Calls != 22 {
		t.Fatalf("%d calls, want 2 of documents and 20 of searches", m.Calls)
	}
	// The third request of an hour is still there.
	in(t, map[string]string{"e/more.md": "# More\n\nA ferry that nobody has seen before.\n"})
	sluice(t, "ingest", "e").want(t, 0)
	// And when there is none left, searches go on.
	in(t, map[string]string{"f/held.md": "# Held\n\nAnother ferry that nobody has seen before.\n"})
	sluice(t, "ingest", "f", "--no-wait").want(t, 0)
	eventually(t, "ingestion waits", func() bool {
		return strings.Contains(sluice(t, "ls", "--json").out, "budget global/hour")
	})
	sluice(t, "search", "a ferry in the fog").want(t, 0)
	if m := server.Meter(); m.Calls != 24 {
		t.Errorf("%d calls, want 24", m.Calls)
	}
	var query, global budgetRow
	eventually(t, "the budget is shown", func() bool {
		for _, r := range lines[budgetRow](t, sluice(t, "budget", "--json").want(t, 0)) {
			switch {
			case r.Unit != "requests" || r.Window != "hour":
			case r.Scope == budget.Query:
				query = r
			case r.Scope == budget.Global:
				global = r
			}
		}
		return query.Spent == 21 && global.Spent == 3
	})
	if *query.Limit != 1000 || *global.Limit != 3 {
		t.Errorf("%+v %+v", query, global)
	}
	eventually(t, "they are told apart", func() bool {
		return strings.Contains(sluice(t, "cost", "--by", "tenant").out, "(searches)")
	})
	sluice(t, "budget", "set", "global", "--hour-requests", "100").want(t, 0)
}
