package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/schollz/progressbar/v3"

	"sluice/cmd/sluice/submit"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// SubmitOptions say how documents are submitted; ingest and run share them.
type SubmitOptions struct {
	Tenant      string            `help:"Whose documents these are." placeholder:"NAME"`
	Meta        map[string]string `help:"Keep KEY=VALUE with the documents; search can filter by it. May be repeated." placeholder:"KEY=VALUE" mapsep:"none"`
	Correlation string            `help:"Correlation ID on every message, event and log line; default: a new one." placeholder:"ID"`
	Charset     string            `help:"Character set of text files, if it is guessed wrongly." placeholder:"NAME"`
	Type        string            `help:"Media type, if name and content do not tell." placeholder:"TYPE"`
	Name        string            `help:"Name of the document, for a single one or standard input." placeholder:"NAME"`
	Timeout     time.Duration     `help:"Give up waiting after this long; processing goes on."`
}

func (s SubmitOptions) options() submit.Options {
	return submit.Options{
		Tenant: s.Tenant, Meta: s.Meta, CorrelationID: s.Correlation, Charset: s.Charset, ContentType: s.Type, Name: s.Name,
	}
}

// sources expands arguments; what is wrong with them is a usage error.
func (s SubmitOptions) sources(args []string) ([]submit.Source, error) {
	sources, err := submit.Expand(args)
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return nil, usageError{f}
		}
		return nil, err
	}
	if s.Name != "" && len(sources) != 1 {
		return nil, usagef("leave --name out: each file is named by its path", "--name is for one document, and these are %d", len(sources))
	}
	return sources, nil
}

// IngestCmd submits documents.
type IngestCmd struct {
	Paths []string `arg:"" name:"path" help:"Files, directories, patterns ('docs/**/*.md'), http(s) URLs, or - for standard input."`
	SubmitOptions
	NoWait bool `help:"Return when the documents are stored, without waiting for the outcome."`
	Online
}

// Help is shown by --help.
func (IngestCmd) Help() string {
	return examples("Submits documents, shows how they move through the stages, and prints a table of what became of each. "+
		"It fails if one of them failed, and the table says why. Directories are read recursively, without hidden files; "+
		"links inside them are not followed. A document is known by its path: ingesting it again replaces it, or is a duplicate that costs nothing. "+
		"Interrupting only ends the waiting.",
		"sluice ingest report.pdf", "One file",
		"sluice ingest docs 'notes/**/*.md' https://example.org/a.html", "Directories, patterns and addresses",
		"curl -s https://example.org/a.txt | sluice ingest - --name a.txt", "Standard input",
		"sluice ingest contracts --tenant acme --meta Year=2026", "For a tenant, with metadata",
		"sluice ingest docs --json | jq -r 'select(.state==\"failed\") | .name'", "The names of what failed")
}

// Run submits and waits.
func (cmd IngestCmd) Run(ctx context.Context, o *output) error {
	sources, err := cmd.sources(cmd.Paths)
	if err != nil {
		return err
	}
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = ingest(ctx, o, c, cmd.SubmitOptions, sources, !cmd.NoWait)
	return err
}

// outcome is the JSON of one ingested document.
type outcome struct {
	Name          string          `json:"name"`
	Document      string          `json:"document,omitempty"`
	Tenant        string          `json:"tenant,omitempty"`
	Revision      events.Revision `json:"revision,omitempty"` // known once the parser has taken it up
	Sequence      uint64          `json:"sequence,omitempty"` // in DOCUMENTS
	CorrelationID string          `json:"correlation_id,omitempty"`
	State         string          `json:"state"`
	Type          string          `json:"type,omitempty"`
	Bytes         int64           `json:"bytes"`
	Pages         int             `json:"pages"`
	Chunks        int             `json:"chunks"`
	Reused        int             `json:"reused"`
	Tokens        int             `json:"tokens"`
	Nano          int64           `json:"nano"`
	Seconds       float64         `json:"seconds"`
	Parser        string          `json:"parser,omitempty"`
	Held          string          `json:"held,omitempty"`
	Warnings      []string        `json:"warnings,omitempty"`
	Failure       *events.Failure `json:"failure,omitempty"`
}

// stateOf names where a result stands, in one word.
func stateOf(r submit.Result) string {
	switch {
	case r.Superseded:
		return "superseded"
	case r.State != "":
		return string(r.State)
	case r.Submitted:
		return "submitted"
	}
	return "not submitted"
}

func outcomeOf(r submit.Result) outcome {
	d := r.Document
	out := outcome{
		Name: d.Name, Document: d.Document, Tenant: d.Tenant, Revision: d.Revision, Sequence: d.Sequence, CorrelationID: d.CorrelationID,
		State: stateOf(r), Type: d.Type, Bytes: d.Bytes, Pages: d.Pages, Chunks: d.Chunks, Reused: d.Reused, Tokens: d.Tokens,
		Nano: d.Nano, Parser: d.Parser, Held: heldWords(d.Held), Warnings: d.Warnings, Failure: d.Failure,
	}
	if r.Final {
		out.Seconds = elapsed(r).Seconds()
	}
	return out
}

// elapsed is from submission to the final state. The two clocks may differ.
func elapsed(r submit.Result) time.Duration { return max(r.Ended.Sub(r.Began), 0) }

// ingest submits sources through c, waits for the outcome if asked to, and
// prints it. It fails if a document failed or is not final.
func ingest(ctx context.Context, o *output, c *client, so SubmitOptions, sources []submit.Source, wait bool) ([]submit.Result, error) {
	options := so.options()
	options.Limit = c.largest(ctx, sources)
	s, err := submit.Open(ctx, c.nc, c.js, options)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }() // the connection closes next
	began := time.Now()
	waiting := ctx
	if so.Timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, so.Timeout)
		defer cancel()
	}
	shown := watch(o, c, s, len(sources))
	s.Submit(waiting, sources, o.In)
	var waitErr error
	if wait {
		waitErr = s.Wait(waiting)
	}
	shown()
	results := s.Results()
	if err := printResults(o, results, time.Since(began)); err != nil {
		return results, err
	}
	return results, verdict(results, wait, waitErr, so.Timeout, s.CorrelationID())
}

// verdict turns results into the command's error.
func verdict(results []submit.Result, wait bool, waitErr error, timeout time.Duration, correlation string) error {
	failed, open, submitted := 0, 0, 0
	for _, r := range results {
		switch {
		case r.State == events.StateFailed, r.Superseded && r.Failure != nil:
			failed++
		case !r.Final:
			open++
		}
		if r.Submitted {
			submitted++
		}
	}
	follow := "'sluice status --correlation " + correlation + "' shows how they go on"
	switch {
	case failed > 0 && open > 0 && wait:
		return failf("documents-failed", follow, "%d of %d documents failed, %d are not final yet", failed, len(results), open)
	case failed > 0:
		hint := "'sluice dead ls' shows what can be replayed once the cause is mended"
		if submitted == 0 {
			hint = "the table says why"
		}
		return failf("documents-failed", hint, "%d of %d documents failed", failed, len(results))
	case !wait || open == 0:
		return nil
	case errors.Is(waitErr, context.DeadlineExceeded):
		return failf("timeout", follow, "%d of %d documents are not final after %v", open, len(results), timeout)
	case errors.Is(waitErr, context.Canceled):
		return failf("interrupted", follow, "interrupted; %d of %d documents are not final, and their processing goes on", open, len(results))
	}
	return waitErr
}

// watch shows progress on the standard error until the returned function is
// called: a bar on a terminal, and on any output what a person should know.
func watch(o *output, c *client, s *submit.Submitter, total int) (stop func()) {
	ctx, quit := context.WithCancel(context.Background())
	done := make(chan struct{})
	var bar *progressbar.ProgressBar
	if o.live && !o.json {
		bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(o.Err), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(50*time.Millisecond), progressbar.OptionFullWidth(),
			progressbar.OptionSetTheme(progressbar.ThemeASCII))
	}
	note := func(format string, args ...any) {
		if bar != nil {
			_ = bar.Clear() // drawing is best effort
		}
		o.notef(format, args...)
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		said := map[string]bool{}
		once := func(key, format string, args ...any) {
			if !said[key] {
				said[key] = true
				note(format, args...)
			}
		}
		for {
			p := s.Progress()
			if bar != nil {
				bar.Describe(describe(p))
				_ = bar.Set(p.Final)
			}
			if p.Held != "" {
				once("held "+p.Held, "held: %s", oneLine(heldWords(p.Held)))
			}
			if p.Full {
				once("full", "the stream of submissions is full; going on as it drains")
			}
			if p.Submitted > p.Final-p.Failed && time.Since(p.LastEvent) > 5*time.Second && !said["idle"] {
				if words, hint := c.idle(ctx); words != "" && ctx.Err() == nil {
					once("idle", "nothing moves: %s; hint: %s", words, hint)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		quit()
		<-done
		if bar != nil {
			_ = bar.Finish()
			_ = bar.Clear()
		}
	}
}

// describe counts documents by stage, in the order of the pipeline.
func describe(p submit.Progress) string {
	var parts []string
	if n := p.Total - p.Submitted; n > 0 && p.Final < p.Total {
		parts = append(parts, fmt.Sprintf("%d to submit", n))
	}
	for _, s := range []events.State{
		events.StateAccepted, events.StateParsed, events.StateEmbedded, events.StateIndexed,
		events.StateComplete, events.StateDuplicate, events.StateDegraded, events.StateFailed,
	} {
		if n := p.ByState[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if len(parts) == 0 {
		return "submitted"
	}
	return strings.Join(parts, ", ")
}

func paintState(state string) lipgloss.Style {
	switch state {
	case "complete", "duplicate", "ok", "running":
		return good
	case "failed", "not submitted", "fail", "stopped":
		return bad
	case "degraded", "superseded", "warn":
		return wary
	}
	return lipgloss.NewStyle()
}

// printResults prints the table of an ingestion, the failures and a sum.
func printResults(o *output, results []submit.Result, took time.Duration) error {
	if o.json {
		lines := make([]outcome, len(results))
		for i, r := range results {
			lines[i] = outcomeOf(r)
		}
		return printLines(o, lines)
	}
	rows := make([][]string, 0, len(results))
	sum := struct {
		pages, chunks, tokens int
		nano                  int64
	}{}
	states := map[string]int{}
	for _, r := range results {
		d := r.Document
		name := d.Name
		if name == "" {
			name = d.Document
		}
		took := "-"
		if r.Final && d.Document != "" {
			took = seconds(elapsed(r))
		}
		rows = append(rows, []string{
			name, stateOf(r), count(d.Pages), count(d.Chunks), count(d.Tokens), dollars(d.Nano), took,
		})
		states[stateOf(r)]++
		sum.pages += d.Pages
		sum.chunks += d.Chunks
		sum.tokens += d.Tokens
		sum.nano += d.Nano
	}
	o.table([]column{
		{title: "DOCUMENT", name: true},
		{title: "STATE", paint: paintState},
		{title: "PAGES", right: true},
		{title: "CHUNKS", right: true},
		{title: "TOKENS", right: true},
		{title: "COST", right: true},
		{title: "SECONDS", right: true},
	}, rows)
	explained := 0
	for _, r := range results {
		if explained == explainMost {
			o.printf("\n… and more; 'sluice ls --state failed' and 'sluice status DOC' tell the rest\n")
			break
		}
		if explain(o, label(&r.Document), &r.Document) {
			explained++
		}
	}
	o.printf("\n%s: %s; %s, %s, %s in %s s\n", plural(len(results), "document"), tally(states),
		plural(sum.chunks, "chunk"), plural(sum.tokens, "token"), dollars(sum.nano), seconds(took))
	if states[string(events.StateDegraded)] > 0 {
		o.printf("Degraded documents can be searched, and are done again by themselves when the service is back.\n")
	}
	return nil
}

// explainMost bounds the documents that are explained under a table.
const explainMost = 50

// explain prints why a document failed or waits, and what was left out of it.
// It reports whether there was anything to say.
func explain(o *output, name string, d *events.Document) bool {
	failed := d.Failure != nil && (d.State == events.StateFailed || d.Failure.Reason == events.ReasonOrder)
	held := d.Held != "" && !d.State.Final()
	if f := d.Failure; failed {
		o.printf("\n%s: %s: %s\n", o.paint(bad, safe(name)), safe(f.Reason), oneLine(f.Message))
		if f.Hint != "" {
			o.printf("  hint: %s\n", oneLine(f.Hint))
		}
	}
	if held {
		o.printf("\n%s is held: %s\n", o.paint(wary, safe(name)), oneLine(heldWords(d.Held)))
	}
	for i, w := range d.Warnings {
		if i == 0 {
			o.printf("\n")
		}
		if i == 5 {
			o.printf("%s: %s; see 'sluice status'\n", o.paint(wary, safe(name)), plural(len(d.Warnings)-i, "more warning"))
			break
		}
		o.printf("%s: warning: %s\n", o.paint(wary, safe(name)), oneLine(w))
	}
	return failed || held || len(d.Warnings) > 0
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return grouped(int64(n)) + " " + what + "s"
}

// tally lists counts by name, the greatest first.
func tally(counts map[string]int) string {
	names := make([]string, 0, len(counts))
	for n := range counts {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := counts[b] - counts[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, n := range names {
		names[i] = fmt.Sprintf("%d %s", counts[n], n)
	}
	return strings.Join(names, ", ")
}
