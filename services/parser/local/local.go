// Package local is the parser that needs no service: documents become Markdown
// in this process, or in child processes of it where a format is risky.
//
// A document goes through four steps: package sniff says what it is; the reader
// of that kind turns it into Markdown; what came out is normalised, so that
// every later stage can rely on it (valid UTF-8, LF line ends, no control
// characters); and whatever is refused on the way is a Validation fault that
// names the document, the reason and the next step.
//
// Text formats up to 4 MiB are read in this process, in well under a second.
// PDF, Office, archives, mail and whatever is larger go to children with a
// bound on their memory and time, because their readers meet inputs made to
// exhaust both.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/formats"
	"sluice/services/parser/internal/isolate"
	"sluice/services/parser/internal/pdf"
	"sluice/services/parser/internal/sniff"
)

// Version is part of the fingerprint of everything parsed.
const Version = formats.Version

// Config configures a Parser. The tags are read by kong.
type Config struct {
	MaxInput       int64         `name:"parser-max-input" env:"SLUICE_PARSER_MAX_INPUT" default:"104857600" help:"Largest document in bytes."`
	MaxOutput      int64         `name:"parser-max-output" env:"SLUICE_PARSER_MAX_OUTPUT" default:"52428800" help:"Most Markdown of one document in bytes."`
	MaxExpanded    int64         `name:"parser-max-expanded" env:"SLUICE_PARSER_MAX_EXPANDED" default:"209715200" help:"Most bytes that one document may unpack to, over all levels."`
	MaxPages       int           `name:"parser-max-pages" env:"SLUICE_PARSER_MAX_PAGES" default:"5000" help:"Most pages, slides or sheets of one document."`
	MaxFiles       int           `name:"parser-max-files" env:"SLUICE_PARSER_MAX_FILES" default:"1000" help:"Most files of one archive, over all levels."`
	MaxDepth       int           `name:"parser-max-depth" env:"SLUICE_PARSER_MAX_DEPTH" default:"6" help:"Most archives or e-mails within one another."`
	Timeout        time.Duration `name:"parser-timeout" env:"SLUICE_PARSER_TIMEOUT" default:"120s" help:"Longest time to read one document."`
	CacheDir       string        `name:"parser-cache-dir" env:"SLUICE_PARSER_CACHE_DIR" help:"Where compiled code is kept between runs; by default in the user's cache folder."`
	IsolateWorkers int           `name:"parser-isolate-workers" env:"SLUICE_PARSER_ISOLATE_WORKERS" default:"0" help:"Child processes for risky formats; 0 is one for each CPU."`
	IsolateMemory  int64         `name:"parser-isolate-memory" env:"SLUICE_PARSER_ISOLATE_MEMORY" default:"1073741824" help:"Most memory of one child process in bytes."`
	Isolate        bool          `name:"parser-isolate" env:"SLUICE_PARSER_ISOLATE" default:"true" negatable:"" help:"Read risky formats in child processes."`
}

// DefaultConfig returns the defaults of the tags.
func DefaultConfig() Config {
	return Config{
		MaxInput: 100 << 20, MaxOutput: 50 << 20, MaxExpanded: 200 << 20, MaxPages: 5000, MaxFiles: 1000, MaxDepth: 6,
		Timeout: 2 * time.Minute, IsolateMemory: 1 << 30, Isolate: true,
	}
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	for _, v := range [...]struct {
		name  string
		value int64
	}{
		{"parser-max-input", c.MaxInput},
		{"parser-max-output", c.MaxOutput},
		{"parser-max-expanded", c.MaxExpanded},
		{"parser-max-pages", int64(c.MaxPages)},
		{"parser-max-files", int64(c.MaxFiles)},
		{"parser-max-depth", int64(c.MaxDepth)},
		{"parser-timeout", int64(c.Timeout)},
		{"parser-isolate-memory", c.IsolateMemory},
	} {
		if v.value <= 0 {
			return fault.New(fault.Halt, "configuration", "%s is %d", v.name, v.value).WithHint("give it a positive value")
		}
	}
	if c.IsolateWorkers < 0 {
		return fault.New(fault.Halt, "configuration", "parser-isolate-workers is %d", c.IsolateWorkers).WithHint("use 0 for one for each CPU")
	}
	return nil
}

func (c Config) limits() format.Limits {
	return format.Limits{
		Input: c.MaxInput, Output: c.MaxOutput, Expanded: c.MaxExpanded,
		Pages: c.MaxPages, Files: c.MaxFiles, Depth: c.MaxDepth, Time: c.Timeout,
	}
}

// cacheDirEnv tells a child process where compiled code is kept.
const cacheDirEnv = "SLUICE_PARSER_CHILD_CACHE_DIR"

// Init makes this process convert documents and never return, if a Parser
// started it for that. It must be the first call of every main, and of every
// TestMain, of a program that parses.
func Init() {
	// The converter is never closed: the process ends with it.
	c := newConverter(os.Getenv(cacheDirEnv))
	isolate.Init(c.convert)
}

// Warm compiles what the first document of some formats would wait for, and keeps
// it in a folder: Config.CacheDir of parsers on the same kind of processor.
func Warm(dir string) error {
	r, err := pdf.New(pdf.Config{CacheDir: dir})
	if err != nil {
		return err
	}
	return errors.Join(r.Warm(), r.Close())
}

// Parser converts documents. It is safe for concurrent use.
type Parser struct {
	cfg  Config
	here *converter
	pool *isolate.Pool // nil without isolation
}

var _ provider.Parser = (*Parser)(nil)

// New returns a Parser. Its errors are Halt faults: the configuration is wrong.
func New(cfg Config) (*Parser, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Parser{cfg: cfg, here: newConverter(cfg.CacheDir)}
	if !cfg.Isolate {
		return p, nil
	}
	workers := cfg.IsolateWorkers
	if workers == 0 {
		workers = runtime.NumCPU()
	}
	ic := isolate.Config{Workers: workers, Memory: cfg.IsolateMemory, Time: cfg.Timeout}
	if cfg.CacheDir != "" {
		ic.Env = []string{cacheDirEnv + "=" + cfg.CacheDir}
	}
	var err error
	if p.pool, err = isolate.NewPool(ic); err != nil {
		return nil, fault.Wrap(err, fault.Halt, "configuration", "cannot start the parser's child processes").
			WithHint("start the parser with --no-parser-isolate to read everything in one process")
	}
	return p, nil
}

// Close ends the child processes. Parses in progress fail as Unavailable.
func (p *Parser) Close() error {
	err := p.here.close()
	if p.pool != nil {
		err = errors.Join(err, p.pool.Close())
	}
	return err
}

// Describe names the parser.
func (p *Parser) Describe() provider.ParserInfo {
	return provider.ParserInfo{Service: "local", Version: Version}
}

// Parse converts a document. Refusals are Validation faults with one of the
// reasons of provider.Parser or "timeout"; a crash of a reader is Execution
// "parser-crash". It costs nothing.
func (p *Parser) Parse(ctx context.Context, src provider.Source) (provider.Parse, error) {
	in := format.Input{Name: src.Name, ContentType: src.ContentType, Charset: src.Charset, Data: src.Data, Limits: p.cfg.limits()}
	if int64(len(in.Data)) > in.Limits.Input {
		return provider.Parse{}, fault.Invalid("too-large", "%s has %d MiB, more than %d", label(in.Name), len(in.Data)>>20, in.Limits.Input>>20).
			WithHint("split the document, or raise --parser-max-input")
	}
	kind, _ := sniff.Detect(in.Name, in.ContentType, in.Data)
	var (
		out *format.Output
		err error
	)
	if p.pool != nil && isRisky(kind, len(in.Data)) {
		if in.Name == "" {
			in.Name = label("") // children name it in messages too
		}
		out, err = p.pool.Convert(ctx, in)
	} else {
		out, err = p.inProcess(ctx, in)
	}
	if err != nil {
		return provider.Parse{}, err
	}
	return provider.Parse{Markdown: out.Markdown, Pages: out.Pages, Facts: out.Facts, Warnings: out.Warnings}, nil
}

// inProcess converts under the time limit that children have from their pool.
func (p *Parser) inProcess(ctx context.Context, in format.Input) (*format.Output, error) {
	bounded, cancel := context.WithTimeout(ctx, in.Limits.Time)
	defer cancel()
	out, err := p.here.convert(bounded, in)
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		// The caller gave up; the document is not to blame.
		return nil, fault.Wrap(context.Cause(ctx), fault.Unavailable, "interrupted", "%s: not converted", label(in.Name))
	case errors.Is(err, context.DeadlineExceeded) && fault.Of(err) != fault.Validation:
		return nil, fault.Wrap(err, fault.Validation, "timeout", "%s: not converted within %v", label(in.Name), in.Limits.Time).
			WithHint("raise --parser-timeout, or split the document")
	}
	return nil, err
}

// isRisky reports whether a document is converted in a child. What is refused is
// not read at all.
func isRisky(f *format.Format, size int) bool {
	const large = 4 << 20
	return f.Read != nil && (!f.Text || size > large)
}

// label names a document in a message.
func label(name string) string {
	if name == "" {
		return "the document"
	}
	return fmt.Sprintf("%.200s", name)
}
