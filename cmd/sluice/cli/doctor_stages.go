package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"

	"sluice/cmd/sluice/services"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/stage"
	"sluice/services/costd"
)

// discover asks all micro services of the pipeline for their state, and returns
// when the stages that are wanted have answered, or after patience. A stage that has
// all hands full answers late. Without wanted ones it returns when no answer has come
// for a while.
func (c *client) discover(ctx context.Context, patience time.Duration, wanted ...string) (map[string][]micro.Stats, error) {
	inbox := c.nc.NewInbox() // with the prefix that the user may hear
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("look for stages: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection closes next
	found := map[string][]micro.Stats{}
	if err := c.nc.PublishRequest(micro.APIPrefix+"."+micro.StatsVerb.String(), inbox, nil); err != nil {
		return nil, fmt.Errorf("look for stages: %w", err)
	}
	for deadline := time.Now().Add(patience); ; {
		left := time.Until(deadline)
		if !slices.ContainsFunc(wanted, func(name string) bool { return len(found[name]) == 0 }) {
			left = min(left, lull) // all are there; their other replicas may follow
		}
		waiting, cancel := context.WithTimeout(ctx, left)
		msg, err := sub.NextMsgWithContext(waiting)
		cancel()
		if err != nil || len(msg.Data) == 0 { // silence, or the notice that nobody is there
			return found, nil
		}
		var s micro.Stats
		if err := json.Unmarshal(msg.Data, &s); err == nil {
			found[s.Name] = append(found[s.Name], s)
		}
	}
}

const (
	// answering is how long a stage may take to say how it does.
	answering = 5 * time.Second
	// lull is the silence after which nobody else will answer.
	lull = 300 * time.Millisecond
)

// needed are the names of the stages that documents have to pass, in the order of
// the pipeline.
func needed() []string {
	stages, _ := services.Stages()
	var names []string
	for _, d := range stages {
		names = append(names, d.Name)
	}
	return names
}

// idle says why nothing moves: a stage that nobody runs, one that is busy, or one
// that waits. It is "" if none of it is so.
func (c *client) idle(ctx context.Context) (words, hint string) {
	names := needed()
	found, err := c.discover(ctx, answering, names...)
	if err != nil {
		return "", ""
	}
	var missing, busy, waits []string
	for _, service := range services.All() {
		for _, d := range service.Stages {
			if d.Optional || !slices.Contains(names, d.Name) {
				continue
			}
			if len(found[d.Name]) > 0 {
				inHand := 0
				for _, s := range found[d.Name] {
					if h := stageHealth(s); h != nil {
						inHand += h.InHand
						if len(h.Waiting) > 0 {
							waits = append(waits, "the "+d.Name+" waits: "+oneLine(h.Waiting[0].Message))
						} else if h.Down != "" {
							waits = append(waits, "the "+d.Name+" is not ready: "+oneLine(h.Down))
						}
					}
				}
				if inHand > 0 {
					busy = append(busy, fmt.Sprintf("the %s has %s in hand", d.Name, plural(inHand, "message")))
				}
				continue
			}
			// It has not answered. Its consumer knows whether it is there all the same.
			cons, err := c.js.Consumer(ctx, d.In.Stream, d.Name)
			if err == nil {
				if info := cons.CachedInfo(); info.NumWaiting > 0 || info.NumAckPending > 0 {
					busy = append(busy, fmt.Sprintf("the %s does not answer, and has %s in hand", d.Name, plural(info.NumAckPending, "message")))
					continue
				}
			}
			missing = append(missing, d.Name)
		}
	}
	switch {
	case len(missing) > 0:
		return strings.Join(append([]string{"no " + strings.Join(missing, ", no ") + " is running"}, busy...), "; "), "start all stages with 'sluice up'"
	case len(waits) > 0:
		return strings.Join(slices.Compact(waits), "; "), "'sluice doctor' says what ends it"
	case len(busy) > 0:
		return "all stages run, and are busy: " + strings.Join(busy, "; "), "'sluice status' shows the queues"
	}
	return "", ""
}

// checkStages shows what the stages say of themselves.
func checkStages(ctx context.Context, u *checkup, c *client) map[string][]micro.Stats {
	names := needed()
	found, err := c.discover(ctx, answering, names...)
	if err != nil {
		u.err("stages", err)
		return nil
	}
	_, optional := services.Stages()
	for _, d := range optional {
		if len(found[d.Name]) > 0 {
			names = append(names, d.Name)
		}
	}
	for name, all := range found {
		if !slices.Contains(names, name) && all[0].Metadata["stream"] != "" {
			names = append(names, name) // a stage of the user's own
		}
	}
	for _, name := range names {
		if len(found[name]) == 0 {
			u.fail("stage "+name, "start it, or all stages with 'sluice up'", "not running: it does not answer within %v", answering)
			continue
		}
		checkStage(u, name, found[name])
	}
	if len(found[costd.Name]) == 0 && paying(found) {
		u.fail("stage "+costd.Name, "start it: without it no paid call is made, and what needs one waits", "not running: it does not answer within %v", answering)
	}
	return found
}

// paying tells whether a stage calls a paid service, or waits for money.
func paying(found map[string][]micro.Stats) bool {
	for _, replicas := range found {
		for _, s := range replicas {
			if h := stageHealth(s); h != nil && (h.Provider != "" || slices.ContainsFunc(h.Waiting, func(w stage.Waiting) bool { return w.Kind == fault.WaitBudget })) {
				return true
			}
		}
	}
	return false
}

// checkStage shows what the replicas of one stage say.
func checkStage(u *checkup, name string, replicas []micro.Stats) {
	check := "stage " + name
	inHand, troubled := 0, false
	providers := map[string]bool{}
	downs := map[string]bool{}
	var waiting []stage.Waiting
	for _, s := range replicas {
		h := stageHealth(s)
		if h == nil {
			continue
		}
		inHand += h.InHand
		waiting = append(waiting, h.Waiting...)
		if h.Down != "" && !downs[h.Down] {
			downs[h.Down], troubled = true, true
			u.fail(check, "the stage goes on by itself when that is mended; its log says more", "not ready: %s", safe(h.Down))
		}
		if p := h.Provider; p != "" && !providers[p] {
			providers[p] = true
			checkService(u, name, p)
		}
	}
	for _, w := range together(waiting) {
		troubled = true
		hint := w.Hint
		if hint == "" {
			hint = "it goes on by itself when that ends"
		}
		text := fmt.Sprintf("%s (%s for %s since %s)", safe(w.Message), counted(w.Count+w.Aside, "message", "waits", "wait"), safe(w.Key), stamp(w.Since))
		switch w.Kind {
		case fault.WaitConfig:
			u.fail(check, hint, "halted: %s", text)
		case fault.WaitStore:
			u.fail(check, hint, "%s", text)
		default:
			u.warn(check, hint, "%s", text)
		}
	}
	if !troubled {
		detail := fmt.Sprintf("%s, %d in hand", plural(len(replicas), "replica"), inHand)
		if f := replicas[0].Metadata["fingerprint"]; f != "" && len(f) < 64 {
			detail += ", works as " + safe(f)
		}
		u.ok(check, "%s", detail)
	}
}

// counted says how many do something: "1 message waits", "2 messages wait".
func counted(n int, what, one, many string) string {
	if n == 1 {
		many = one
	}
	return plural(n, what) + " " + many
}

// checkService shows how the paid service does that a stage calls, in the stage's
// words.
func checkService(u *checkup, name, p string) {
	if strings.Contains(p, "breaker closed") && !strings.Contains(p, "halted") && !strings.Contains(p, "full") {
		u.ok("service of "+name, "%s", safe(p))
		return
	}
	hint := "'sluice mode " + name + " hybrid' has documents flow on meanwhile; see the log of the stage"
	if !strings.Contains(p, "mode real") {
		hint = "documents flow on, degraded, and are made whole by themselves; see the log of the stage"
	}
	if name == "costd" {
		hint = "see the log of costd"
	}
	u.warn("service of "+name, hint, "%s", safe(p))
}

// waitingOf is all that waits in the stages that have answered.
func waitingOf(found map[string][]micro.Stats) (all []stage.Waiting) {
	for _, replicas := range found {
		for _, s := range replicas {
			if h := stageHealth(s); h != nil {
				all = append(all, h.Waiting...)
			}
		}
	}
	return all
}

// together is what waits for each key, over all replicas, the most first. What is
// set aside lies in one stream for all of them.
func together(all []stage.Waiting) []stage.Waiting {
	byKey := map[string]stage.Waiting{}
	for _, w := range all {
		t, ok := byKey[w.Key]
		if !ok {
			byKey[w.Key] = w
			continue
		}
		t.Count += w.Count
		t.Aside = max(t.Aside, w.Aside)
		if w.Since.Before(t.Since) {
			t.Since = w.Since
		}
		if w.Until.After(t.Until) {
			t.Until = w.Until
		}
		byKey[w.Key] = t
	}
	merged := make([]stage.Waiting, 0, len(byKey))
	for _, w := range byKey {
		merged = append(merged, w)
	}
	slices.SortFunc(merged, func(a, b stage.Waiting) int {
		return cmp.Or(cmp.Compare(b.Count+b.Aside, a.Count+a.Aside), strings.Compare(a.Key, b.Key))
	})
	return merged
}

// stageHealth reads what a stage says of itself in its micro statistics.
func stageHealth(s micro.Stats) *stage.StageHealth {
	for _, e := range s.Endpoints {
		if len(e.Data) > 0 {
			var h stage.StageHealth
			if err := json.Unmarshal(e.Data, &h); err == nil && h.Stage != "" {
				return &h
			}
		}
	}
	return nil
}

// checkEndpoints makes one request of each kind that users make.
func checkEndpoints(ctx context.Context, u *checkup, c *client, running map[string][]micro.Stats) {
	if len(running["embedder"]) > 0 {
		data, err := c.ask(ctx, "embedder", events.SubjectEmbed, events.Encode(events.EmbedRequest{Texts: []string{"health"}}), 10*time.Second)
		var reply events.EmbedReply
		switch {
		case fault.Of(err) == fault.CostLimit, fault.Of(err) == fault.RateLimited:
			u.warn("provider embedder", "searches go by words alone meanwhile; 'sluice budget' shows the limits", "%s", fault.From(err).Message)
		case err != nil:
			u.err("provider embedder", err)
		case json.Unmarshal(data, &reply) != nil || len(reply.Vectors) != 1:
			u.fail("provider embedder", "run stages of one release", "the embedder's answer cannot be read")
		default:
			u.ok("provider embedder", "%s, %d dimensions", reply.Model, len(reply.Vectors[0])/4)
		}
	}
	if len(running["indexer"]) > 0 {
		_, err := c.ask(ctx, "indexer", events.SubjectSearch, events.Encode(events.SearchRequest{Query: "health", K: 1}), 10*time.Second)
		if err != nil {
			u.err("search", err)
		} else {
			u.ok("search", "answers")
		}
	}
}
