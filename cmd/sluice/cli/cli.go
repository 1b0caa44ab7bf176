// Package cli is the command line of Sluice. Run parses arguments, runs one
// command and returns the exit code; nothing in here ends the process or knows
// of os.Stdout, so that tests run commands as users do.
//
// Commands print for people, or with --json for programs: one JSON value, or
// for lists one JSON value a line. What is asked for goes to the standard
// output, everything else (progress, notes, errors) to the standard error.
// Exit codes: 0, 1 something failed, 2 the command was called wrongly.
package cli

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// Version is the version of the release; the linker may set it.
var Version = "0.1.0"

// root is the command line. The order is that of the help.
type root struct {
	Help helpFlag `short:"h" help:"Show help; 'sluice COMMAND --help' has examples."`
	JSON bool     `name:"json" help:"Print JSON: one value, or one a line for lists."`

	Run RunCmd `cmd:"" group:"start" help:"Process documents from start to end, with nothing else running."`
	Up  UpCmd  `cmd:"" group:"start" help:"Run all stages and a NATS server in one process."`

	Ingest IngestCmd `cmd:"" group:"use" help:"Submit documents and wait until they are searchable."`
	Search SearchCmd `cmd:"" group:"use" help:"Search the documents."`
	Status StatusCmd `cmd:"" group:"use" help:"Show where a document stands, or how the pipeline does."`
	Trace  TraceCmd  `cmd:"" group:"use" help:"Tell the story of a document."`
	Ls     LsCmd     `cmd:"" group:"use" help:"List documents."`
	Rm     RmCmd     `cmd:"" group:"use" help:"Remove documents."`

	Dead   DeadCmd   `cmd:"" group:"care" help:"Look after what could not be processed."`
	Budget BudgetCmd `cmd:"" group:"care" help:"Show and set what may be spent."`
	Cost   CostCmd   `cmd:"" group:"care" help:"Show what was spent on what."`
	Mode   ModeCmd   `cmd:"" group:"care" help:"Show and set what is done while a paid service is away."`
	Apply  ApplyCmd  `cmd:"" group:"care" help:"Make streams, consumers and buckets; write down who may use them."`
	Doctor DoctorCmd `cmd:"" group:"care" help:"Check everything that has to work."`

	Parse ParseCmd `cmd:"" group:"try" help:"Print a document as Markdown."`
	Chunk ChunkCmd `cmd:"" group:"try" help:"Print the chunks of a document."`
	Plan  PlanCmd  `cmd:"" group:"try" help:"Count tokens and prices before anything is spent."`

	Fake FakeCmd `cmd:"" group:"try" help:"Serve a fake of a paid service, with a meter."`

	Version    VersionCmd    `cmd:"" group:"about" help:"Print the version."`
	Completion CompletionCmd `cmd:"" group:"about" help:"Print a completion script for bash, zsh or fish."`
	Complete   CompleteCmd   `cmd:"" name:"__complete" hidden:"" passthrough:"" help:"Answer a completion script."`
}

const description = `Documents in, searchable vectors out, on NATS JetStream.

Try it on your own files, with nothing else running:

    sluice run --query "what I look for" ~/Documents/*.pdf

Keep it running, and use it from another terminal:

    sluice up
    sluice ingest report.pdf
    sluice search "notice period"
`

// errHelp ends parsing after help has been printed.
var errHelp = errors.New("help")

type helpFlag bool

// IgnoreDefault keeps kong from applying a default to the flag.
func (helpFlag) IgnoreDefault() {}

// BeforeReset prints help as soon as the flag is seen, whatever else is missing.
func (helpFlag) BeforeReset(k *kong.Context) error {
	if err := k.PrintUsage(false); err != nil {
		return err
	}
	return errHelp
}

// newParser returns the parser of a command line into r.
func newParser(r *root, s Streams) (*kong.Kong, error) {
	return kong.New(r,
		kong.Name("sluice"), kong.Description(description), kong.NoDefaultHelp(),
		kong.Writers(s.Out, s.Err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "start", Title: "Start:"},
			{Key: "use", Title: "Documents:"},
			{Key: "care", Title: "Operations:"},
			{Key: "try", Title: "Without a server:"},
			{Key: "about", Title: "About:"},
		}),
		kong.Vars{"version": Version},
		kong.KindMapper(reflect.String, kong.MapperFunc(exactString)),
	)
}

// exactString takes an argument as it is. Kong's own way leads through JSON,
// which replaces bytes that are not UTF-8: another document would be meant.
func exactString(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	if s, ok := token.Value.(string); ok {
		target.SetString(s)
		return nil
	}
	target.SetString(fmt.Sprint(token.Value))
	return nil
}

// Run runs the command line args (without the program's name) and returns the
// exit code. It returns soon after ctx ends.
func Run(ctx context.Context, args []string, s Streams) int {
	r := &root{}
	o := newOutput(s, wantsJSON(args))
	parser, err := newParser(r, s)
	if err != nil {
		return report(o, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	switch {
	case errors.Is(err, errHelp):
		return exitOK
	case err != nil:
		return report(o, usagef(helpHint(err), "%s", err))
	}
	o.json = r.JSON
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(o, parser)
	return report(o, k.Run())
}

// wantsJSON finds the flag before parsing, so that a usage error is JSON too.
func wantsJSON(args []string) bool {
	for _, a := range args {
		if a == "--" {
			break
		}
		if a == "--json" {
			return true
		}
	}
	return false
}

func helpHint(err error) string {
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		if n := p.Context.Selected(); n != nil {
			return "see 'sluice " + n.Path() + " --help'"
		}
	}
	return "see 'sluice --help'"
}

// examples lays out the help of a command: what it does, then examples with
// what they are for.
func examples(about string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(about)
	b.WriteString("\n\nExamples:\n\n")
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, "    # %s\n    %s\n", pairs[i+1], pairs[i])
		if i+2 < len(pairs) {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// VersionCmd prints the version.
type VersionCmd struct{}

// Help is shown by --help.
func (VersionCmd) Help() string {
	return examples("The version, the commit it was built from, and the Go release.",
		"sluice version", "What to name in a bug report")
}

// Run prints the version.
func (VersionCmd) Run(o *output) error {
	v := struct {
		Version  string `json:"version"`
		Commit   string `json:"commit,omitempty"`
		Modified bool   `json:"modified,omitempty"`
		Go       string `json:"go,omitempty"`
	}{Version: Version}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Go = info.GoVersion
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if o.json {
		return o.line(v)
	}
	text := "sluice " + v.Version
	if v.Commit != "" {
		text += " " + v.Commit[:min(12, len(v.Commit))]
	}
	if v.Modified {
		text += " (modified)"
	}
	o.printf("%s %s\n", text, v.Go)
	return nil
}
