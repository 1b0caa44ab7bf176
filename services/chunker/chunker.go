// Package chunker is the second stage: it cuts Markdown into chunks that an
// embedding model can take, along the structure of the document.
package chunker

import (
	"cmp"
	"context"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/stage"
	"sluice/pkg/words"
	"sluice/services/chunker/split"
)

// Name is the stage's name everywhere.
const Name = "chunker"

// Config configures the stage. The tags are read by kong.
type Config struct {
	Strategy  string `name:"strategy" env:"SLUICE_STRATEGY" default:"markdown" enum:"markdown,recursive,sentence,fixed" help:"How documents are cut (${enum})."`
	Encoding  string `name:"encoding" env:"SLUICE_ENCODING" default:"cl100k_base" enum:"cl100k_base,o200k_base" help:"Vocabulary that tokens are counted in (${enum})."`
	MaxTokens int    `name:"max-tokens" env:"SLUICE_MAX_TOKENS" default:"512" help:"Most tokens of a chunk."`
	MinTokens int    `name:"min-tokens" env:"SLUICE_MIN_TOKENS" default:"0" help:"Smaller pieces join their neighbours where the structure allows; 0 is an eighth of --max-tokens, 1 is none."`
	Overlap   int    `name:"overlap" env:"SLUICE_OVERLAP" default:"0" help:"Tokens repeated from the chunk before."`
}

// Options returns the splitter's options.
func (c Config) Options() split.Options {
	return split.Options{
		Strategy: c.Strategy, Encoding: c.Encoding, MaxTokens: c.MaxTokens, MinTokens: cmp.Or(c.MinTokens, c.MaxTokens/8), Overlap: c.Overlap,
	}
}

// Routing and size of the stage, apart from what Config says about chunks.
type Routing struct {
	From    string `name:"chunker-from" aliases:"from" env:"SLUICE_CHUNKER_FROM" placeholder:"STREAM" help:"Consume another stream than PARSED: one that a stage of yours fills."`
	Workers int    `name:"chunker-workers" env:"SLUICE_CHUNKER_WORKERS" default:"4" help:"Documents cut at once."`
}

// Declare returns the service as it is routed.
func (r Routing) Declare() broker.Service {
	if r.From == "" {
		return Service
	}
	return Service.From(Name, r.From)
}

// Stages returns the stage.
func Stages(_ context.Context, _ *stage.Env, cfg Config, routing Routing) ([]stage.Stage, func() error, error) {
	s, err := Stage(cfg, routing)
	return []stage.Stage{s}, nil, err
}

// Stage returns the stage.
func Stage(cfg Config, routing Routing) (stage.Stage, error) {
	s, err := split.New(cfg.Options())
	if err != nil {
		return stage.Stage{}, fault.Wrap(err, fault.Halt, "configuration", "the chunker's settings cannot work")
	}
	return stage.Stage{
		Declaration: routing.Declare().Stage(Name), Workers: routing.Workers,
		Handle:      func(ctx context.Context, m *stage.Message) error { return cut(ctx, s, m) },
		Fingerprint: cfg.Options().Fingerprint(),
	}, nil
}

func cut(ctx context.Context, s *split.Splitter, m *stage.Message) error {
	p, err := events.Decode[events.Parsed](m.Data)
	if err != nil {
		return err
	}
	if p.Document != m.Document || p.Revision != m.Revision {
		return fault.Invalid("malformed-event", "body and headers name different documents or revisions")
	}
	pieces, err := s.Split(ctx, p.Markdown, p.Pages)
	if err != nil {
		return err
	}
	language := words.Detect(p.Markdown)
	if language == "" { // too short, or mixed: what the document says of itself
		language = words.Language(p.Facts.Language)
	}
	tokens := 0
	chunks := make([]events.Chunk, len(pieces))
	for i, piece := range pieces {
		c := events.Chunk{
			Document: p.Document, Revision: p.Revision, Tenant: p.Tenant, Of: len(pieces), Language: language,
			Ordinal: i, Text: p.Markdown[piece.Start:piece.End], Headings: piece.Headings, Header: piece.Header,
			Start: piece.Start, End: piece.End, Page: piece.Page, Tokens: piece.Tokens, InputTokens: piece.InputTokens,
		}
		c.ID = events.ChunkID(p.Document, i, events.TextHash(c.Input()), p.Fingerprint)
		if i == 0 {
			c.About = &p.About
		}
		chunks[i] = c
		tokens += piece.Tokens
	}
	step := m.Step(events.Chunked)
	step.Of, step.Tokens = len(pieces), tokens
	p.Steps = append(p.Steps, step)
	for pack := range events.PackChunks(chunks) {
		m.Publish(events.SubjectChunks, events.TypeChunks, pack.Key, pack.Data)
	}
	return nil
}
