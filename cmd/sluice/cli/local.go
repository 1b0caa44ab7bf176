package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"sluice/cmd/sluice/submit"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/services/chunker"
	"sluice/services/chunker/split"
	"sluice/services/parser"
	"sluice/services/parser/local"
)

// LocalInput is a document for commands that work without a server.
type LocalInput struct {
	File    string       `arg:"" help:"The document, or - for standard input."`
	Name    string       `help:"Name of standard input, as a hint to its type." placeholder:"NAME"`
	Charset string       `help:"Character set of a text file, if it is guessed wrongly." placeholder:"NAME"`
	Type    string       `help:"Media type, if name and content do not tell." placeholder:"TYPE"`
	Parser  local.Config `embed:"" group:"Parser:"`
}

// read returns the document's bytes.
func (l LocalInput) read(in io.Reader) (provider.Source, error) {
	src := provider.Source{Name: l.Name, ContentType: l.Type, Charset: l.Charset}
	if l.File == "-" {
		data, err := readAtMost(in, l.Parser.MaxInput, "standard input")
		src.Data = data
		return src, err
	}
	if src.Name == "" {
		src.Name = l.File
	}
	var err error
	src.Data, err = readFile(l.File, l.Parser.MaxInput)
	return src, err
}

// readFile reads a file that is no larger than the parser takes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		e := fault.Wrap(err, fault.Validation, "unreadable", "cannot read the document")
		if errors.Is(err, os.ErrNotExist) {
			return nil, e.WithHint("check the path")
		}
		return nil, e
	}
	defer func() { _ = f.Close() }() // read only
	return readAtMost(f, limit, path)
}

func readAtMost(r io.Reader, limit int64, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.Validation, "unreadable", "cannot read %s", name)
	}
	if int64(len(data)) > limit {
		return nil, fault.Invalid("too-large", "%s is larger than %s", name, bytesText(limit)).WithHint("raise --parser-max-input")
	}
	return data, nil
}

// parse reads and parses the document.
func (l LocalInput) parse(ctx context.Context, in io.Reader) (_ provider.Parse, err error) {
	p, err := local.New(l.Parser)
	if err != nil {
		return provider.Parse{}, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	src, err := l.read(in)
	if err != nil {
		return provider.Parse{}, err
	}
	return p.Parse(ctx, src)
}

// ParseCmd prints Markdown.
type ParseCmd struct{ LocalInput }

// Help is shown by --help.
func (ParseCmd) Help() string {
	return examples("Prints what the pipeline would make of a document: the Markdown on standard output, what could not be read as warnings "+
		"on standard error. Nothing has to run.",
		"sluice parse report.pdf", "See what is understood of a PDF",
		"sluice parse slides.pptx > slides.md", "Convert",
		"sluice parse - --name mail.eml < mail.eml", "Standard input",
		"sluice parse report.pdf --json | jq .facts", "Title, author, dates, pages")
}

// Run parses.
func (cmd ParseCmd) Run(ctx context.Context, o *output) error {
	out, err := cmd.parse(ctx, o.In)
	if err != nil {
		return err
	}
	if o.json {
		return o.line(struct {
			Markdown string            `json:"markdown"`
			Pages    []events.PageMark `json:"page_marks,omitempty"`
			Facts    events.Facts      `json:"facts"`
			Warnings []string          `json:"warnings,omitempty"`
		}{out.Markdown, out.Pages, out.Facts, out.Warnings})
	}
	warn(o, out.Warnings)
	if _, err := io.WriteString(o.Out, out.Markdown); err != nil {
		return fault.Wrap(err, fault.Execution, "output", "write the Markdown")
	}
	if n := len(out.Markdown); n > 0 && out.Markdown[n-1] != '\n' {
		o.printf("\n")
	}
	return nil
}

func warn(o *output, warnings []string) {
	for _, w := range warnings {
		o.notef("warning: %s", oneLine(w))
	}
}

// ChunkCmd prints chunks.
type ChunkCmd struct {
	LocalInput
	Chunker chunker.Config `embed:"" group:"Chunker:"`
}

// Help is shown by --help.
func (ChunkCmd) Help() string {
	return examples("Prints the chunks that the pipeline would make of a document. With --json a line a chunk: ordinal, text, exact tokens, "+
		"start and end as byte offsets into the Markdown of 'sluice parse', headings, the header row of the table that a chunk goes on with, "+
		"and the page where it is known. What is embedded is headings, header and text. Nothing has to run.",
		"sluice chunk report.pdf", "Look at the chunks",
		"sluice chunk notes.md --strategy sentence --max-tokens 256", "Another strategy and size",
		"sluice chunk notes.md --json | jq .tokens", "The sizes of all chunks")
}

// chunkLine is the JSON of one chunk.
type chunkLine struct {
	Ordinal  int      `json:"ordinal"`
	Text     string   `json:"text"`
	Tokens   int      `json:"tokens"`
	Start    int      `json:"start"`
	End      int      `json:"end"`
	Headings []string `json:"headings"`
	Header   string   `json:"header,omitempty"`
	Page     int      `json:"page,omitempty"`
}

// Run chunks.
func (cmd ChunkCmd) Run(ctx context.Context, o *output) error {
	s, err := newSplitter(cmd.Chunker)
	if err != nil {
		return err
	}
	out, err := cmd.parse(ctx, o.In)
	if err != nil {
		return err
	}
	chunks, err := s.Split(ctx, out.Markdown, out.Pages)
	if err != nil {
		return err
	}
	warn(o, out.Warnings)
	if o.json {
		lines := make([]chunkLine, len(chunks))
		for i, c := range chunks {
			lines[i] = chunkLine{
				Ordinal: c.Ordinal, Text: out.Markdown[c.Start:c.End], Tokens: c.Tokens, Start: c.Start, End: c.End,
				Headings: append([]string{}, c.Headings...), Header: c.Header, Page: c.Page,
			}
		}
		return printLines(o, lines)
	}
	for i, c := range chunks {
		if i > 0 {
			o.printf("\n")
		}
		head := plural(c.Tokens, "token") + ", bytes " + grouped(int64(c.Start)) + " to " + grouped(int64(c.End))
		if c.Page > 0 {
			head += ", page " + grouped(int64(c.Page))
		}
		for _, h := range c.Headings {
			head += " > " + safe(h)
		}
		if c.Header != "" {
			head += "; table header: " + safe(c.Header)
		}
		o.printf("%s %s\n%s\n", o.paint(bold, "chunk "+grouped(int64(c.Ordinal))), o.paint(dim, head), out.Markdown[c.Start:c.End])
	}
	return nil
}

// newSplitter returns the splitter of the flags; wrong flags are a usage error.
func newSplitter(cfg chunker.Config) (*split.Splitter, error) {
	if err := cfg.Options().Validate(); err != nil {
		f := fault.From(err)
		f.Hint = "see 'sluice chunk --help'"
		return nil, usageError{f}
	}
	return split.New(cfg.Options())
}

// PlanCmd estimates.
type PlanCmd struct {
	Paths   []string       `arg:"" name:"path" help:"Files, directories or patterns."`
	Parser  local.Config   `embed:"" group:"Parser:"`
	Chunker chunker.Config `embed:"" group:"Chunker:"`
	Charset string         `help:"Character set of text files, if it is guessed wrongly." placeholder:"NAME"`
	Text    bool           `name:"llamaparse-text" env:"SLUICE_LLAMAPARSE_TEXT" help:"Plan for a parser that sends LlamaParse text formats, too."`
}

// Help is shown by --help.
func (PlanCmd) Help() string {
	return examples("Parses and cuts documents as the pipeline would, counts exact tokens, and says what each provider would charge for them. "+
		"Nothing is sent anywhere, nothing has to run, nothing is spent. Embedding prices apply to what is embedded: "+
		"each chunk with its heading path and the header of its table. LlamaParse charges by page; a document without pages counts as one, and text formats "+
		"that the pipeline does not send cost nothing there.",
		"sluice plan docs", "What embedding a directory would cost",
		"sluice plan 'contracts/**/*.pdf' --max-tokens 256", "With smaller chunks",
		"sluice plan docs --json | jq '.prices[] | select(.service==\"openai\")'", "For a program")
}

// price is what one provider charges per unit, in nano-dollars. Sources: the
// providers' public price lists, OpenAI's per million tokens ($0.02, $0.13,
// $0.10), LlamaParse's in credits of $0.00125.
type price struct {
	Service string `json:"service"`
	Model   string `json:"model"`
	Unit    string `json:"unit"` // "token" or "page"
	PerUnit int64  `json:"nano_per_unit"`
	Units   int64  `json:"units"`
	Nano    int64  `json:"nano"`
}

const llamaCredit = 1_250_000 // nano-dollars

var priceList = []price{
	{Service: "local", Model: "parser and lex-v1-1536", Unit: "token"},
	{Service: "openai", Model: "text-embedding-3-small", Unit: "token", PerUnit: 20},
	{Service: "openai", Model: "text-embedding-3-large", Unit: "token", PerUnit: 130},
	{Service: "openai", Model: "text-embedding-ada-002", Unit: "token", PerUnit: 100},
	{Service: "llamaparse", Model: "fast", Unit: "page", PerUnit: 1 * llamaCredit},
	{Service: "llamaparse", Model: "cost_effective", Unit: "page", PerUnit: 3 * llamaCredit},
	{Service: "llamaparse", Model: "agentic", Unit: "page", PerUnit: 10 * llamaCredit},
	{Service: "llamaparse", Model: "agentic_plus", Unit: "page", PerUnit: 45 * llamaCredit},
}

// planned is what one document would be.
type planned struct {
	Name        string          `json:"name"`
	Bytes       int64           `json:"bytes"`
	Pages       int             `json:"pages"`
	Sent        bool            `json:"sent"` // to a service that parses, where one is configured
	Chunks      int             `json:"chunks"`
	Tokens      int             `json:"tokens"`       // of the chunks' texts
	InputTokens int             `json:"input_tokens"` // with heading paths and headers of tables: what is embedded
	Failure     *events.Failure `json:"failure,omitempty"`
	Warnings    []string        `json:"warnings,omitempty"`
}

// planning is the JSON of the whole command.
type planning struct {
	Documents   []planned `json:"documents"`
	Count       int       `json:"count"` // documents that can be processed
	Failed      int       `json:"failed"`
	Pages       int       `json:"pages"`
	Chunks      int       `json:"chunks"`
	Tokens      int       `json:"tokens"`
	InputTokens int       `json:"input_tokens"`
	Encoding    string    `json:"encoding"`
	Prices      []price   `json:"prices"`
}

// Run plans.
func (cmd PlanCmd) Run(ctx context.Context, o *output) (err error) {
	sources, err := SubmitOptions{}.sources(cmd.Paths)
	if err != nil {
		return err
	}
	s, err := newSplitter(cmd.Chunker)
	if err != nil {
		return err
	}
	p, err := local.New(cmd.Parser)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	plan := planning{Documents: make([]planned, len(sources)), Encoding: cmd.Chunker.Encoding}
	if err := parallel(ctx, len(sources), func(i int) { plan.Documents[i] = cmd.one(ctx, o.In, p, s, sources[i]) }); err != nil {
		return err
	}
	for _, d := range plan.Documents {
		if d.Failure != nil {
			plan.Failed++
			continue
		}
		plan.Count++
		plan.Pages += d.Pages
		plan.Chunks += d.Chunks
		plan.Tokens += d.Tokens
		plan.InputTokens += d.InputTokens
	}
	plan.Prices = quote(plan.Documents)
	if o.json {
		if err := o.line(plan); err != nil {
			return err
		}
	} else {
		plan.print(o)
	}
	if plan.Failed > 0 {
		return failf("documents-failed", "the rest can be processed as planned", "%d of %d documents cannot be processed", plan.Failed, len(sources))
	}
	return nil
}

func (cmd PlanCmd) one(ctx context.Context, stdin io.Reader, p provider.Parser, s *split.Splitter, src submit.Source) planned {
	d := planned{Name: src.Name, Bytes: src.Size}
	fail := func(err error) planned {
		f := fault.From(err)
		if f.Reason == "unclassified" {
			f.Reason = "unreadable"
		}
		d.Failure = &events.Failure{Stage: "plan", Class: f.Class.String(), Reason: f.Reason, Message: f.Message, Hint: f.Hint}
		return d
	}
	data, err := cmd.data(stdin, src)
	if err != nil {
		return fail(err)
	}
	d.Bytes = int64(len(data))
	in := provider.Source{Name: src.Name, Charset: cmd.Charset, Data: data}
	out, err := p.Parse(ctx, in)
	if err != nil {
		return fail(err)
	}
	d.Sent = parser.Sent(in, cmd.Text)
	chunks, err := s.Split(ctx, out.Markdown, out.Pages)
	if err != nil {
		return fail(err)
	}
	d.Pages, d.Chunks, d.Warnings = out.Facts.Pages, len(chunks), out.Warnings
	for _, c := range chunks {
		d.Tokens += c.Tokens
		d.InputTokens += c.InputTokens
	}
	return d
}

func (cmd PlanCmd) data(stdin io.Reader, src submit.Source) ([]byte, error) {
	switch {
	case src.Err != nil:
		return nil, src.Err
	case src.URL != "":
		return nil, fault.Invalid("remote", "%s is not fetched for a plan", src.URL).WithHint("download it and plan the file")
	case src.Stdin:
		return readAtMost(stdin, cmd.Parser.MaxInput, "standard input")
	}
	return readFile(src.Path, cmd.Parser.MaxInput)
}

// quote prices documents that can be processed.
func quote(docs []planned) []price {
	var tokens, pages int64
	for _, d := range docs {
		if d.Failure == nil {
			tokens += int64(d.InputTokens)
			if d.Sent {
				pages += int64(max(d.Pages, 1))
			}
		}
	}
	prices := make([]price, len(priceList))
	for i, p := range priceList {
		p.Units = tokens
		if p.Unit == "page" {
			p.Units = pages
		}
		p.Nano = p.Units * p.PerUnit
		prices[i] = p
	}
	return prices
}

func (plan planning) print(o *output) {
	rows := make([][]string, 0, len(plan.Documents)+1)
	for _, d := range plan.Documents {
		state := "ok"
		if d.Failure != nil {
			state = d.Failure.Reason
		}
		name := d.Name
		if name == "" {
			name = "-"
		}
		rows = append(rows, []string{name, state, bytesText(d.Bytes), count(d.Pages), count(d.Chunks), count(d.Tokens)})
	}
	o.table([]column{
		{title: "DOCUMENT", name: true},
		{title: "STATE", paint: func(s string) (st style) {
			if s != "ok" {
				return bad
			}
			return st
		}},
		{title: "SIZE", right: true},
		{title: "PAGES", right: true},
		{title: "CHUNKS", right: true},
		{title: "TOKENS", right: true},
	}, rows)
	for _, d := range plan.Documents {
		explain(o, d.Name, &events.Document{State: events.StateFailed, Failure: d.Failure, Warnings: d.Warnings})
	}
	o.printf("\n%s, %s, %s, %s (%s); %s tokens to embed with heading paths\n\n", plural(plan.Count, "document"), plural(plan.Pages, "page"),
		plural(plan.Chunks, "chunk"), plural(plan.Tokens, "token"), plan.Encoding, grouped(int64(plan.InputTokens)))
	rows = rows[:0:0]
	for _, p := range plan.Prices {
		rows = append(rows, []string{p.Service, p.Model, grouped(p.Units) + " " + p.Unit + "s", dollars(p.PerUnit), dollars(p.Nano)})
	}
	o.table([]column{
		{title: "PROVIDER"}, {title: "MODEL"}, {title: "UNITS", right: true}, {title: "EACH", right: true}, {title: "TOTAL", right: true},
	}, rows)
}
