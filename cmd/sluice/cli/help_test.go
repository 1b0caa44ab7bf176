package cli

import (
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kong"
)

// model returns the parser, for looking at the commands.
func model(t *testing.T) *kong.Kong {
	t.Helper()
	k, err := newParser(&root{}, Streams{Out: io.Discard, Err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// commands are the paths of all visible commands.
func commands(t *testing.T) []string {
	t.Helper()
	var all []string
	var walk func(n *kong.Node, path string)
	walk = func(n *kong.Node, path string) {
		for _, c := range n.Children {
			if c.Type == kong.CommandNode && !c.Hidden {
				p := strings.TrimSpace(path + " " + c.Name)
				all = append(all, p)
				walk(c, p)
			}
		}
	}
	walk(model(t).Model.Node, "")
	return all
}

func TestEveryCommandHasHelpWithExamplesThatParse(t *testing.T) {
	seen := 0
	for _, command := range commands(t) {
		r := sluice(t, append(strings.Fields(command), "--help")...).want(t, 0)
		_, shown, ok := strings.Cut(r.out, "Examples:")
		if !ok {
			t.Errorf("sluice %s --help has no examples", command)
		}
		for l := range strings.Lines(shown) {
			l = strings.TrimSpace(l)
			if strings.HasPrefix(l, "Arguments:") || strings.HasPrefix(l, "Flags:") {
				break
			}
			_, call, ok := strings.Cut("\n"+l, "\nsluice ")
			if !ok {
				continue
			}
			seen++
			args := shellWords(t, call)
			if _, err := model(t).Parse(args); err != nil {
				t.Errorf("the example %q of %s does not parse: %v", l, command, err)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d examples were found", seen)
	}
}

// shellWords splits an example up to a pipe or redirection, minding quotes.
func shellWords(t *testing.T, s string) []string {
	t.Helper()
	var words []string
	var b strings.Builder
	quote, open := rune(0), false
	for _, r := range s {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				b.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ' || r == '|' || r == '>' || r == '<':
			if open || b.Len() > 0 {
				words = append(words, b.String())
				b.Reset()
				open = false
			}
			if r != ' ' {
				return words
			}
		default:
			b.WriteRune(r)
		}
	}
	if quote != 0 {
		t.Fatalf("an open quote in %q", s)
	}
	if open || b.Len() > 0 {
		words = append(words, b.String())
	}
	return words
}

// The commands whose flags are this package's own.
func TestHelpTexts(t *testing.T) {
	for _, command := range []string{
		"", "ingest", "search", "status", "trace", "ls", "rm", "dead", "dead ls", "dead show", "dead replay", "dead purge", "apply", "doctor", "version", "completion",
	} {
		name := strings.ReplaceAll(command, " ", "-")
		if name == "" {
			name = "sluice"
		}
		golden(t, "help/"+name+".txt", sluice(t, append(strings.Fields(command), "--help")...).want(t, 0).out)
	}
}

func TestWithoutArgumentsThereIsHelp(t *testing.T) {
	sluice(t).want(t, 0).has(t, "Usage: sluice <command>", "sluice up")
}

func TestUsageErrors(t *testing.T) {
	in(t, map[string]string{"a.txt": "text", ".hidden": "text"})
	for _, c := range []struct {
		args, says string
	}{
		{"bogus", "unexpected argument bogus; hint: see 'sluice --help'"},
		{"ingest", "see 'sluice ingest --help'"},
		{"ingest a.txt --wat", "unknown flag --wat"},
		{"ingest nothing.pdf", `no file matches "nothing.pdf"; hint: check the path`},
		{"ingest *.pdf", `no file matches "*.pdf"`},
		{"ingest ftp://host/x", "cannot be fetched"},
		{"ingest a.txt https://example.org/ --name x", "--name is for one document"},
		{"search", "see 'sluice search --help'"},
		{"search x -k 0", "-k is 0"},
		{"search x --mode psychic", `must be one of "hybrid","keyword","vector"`},
		{"status a --correlation b", "not both"},
		{"ls --state sleeping", "no state is called"},
		{"dead", "see 'sluice dead --help'"},
		{"dead replay", "nothing is selected to replay"},
		{"dead purge", "nothing is selected to purge"},
		{"dead purge --all", "add --yes"},
		{"dead purge 1 --all", "not both"},
		{"dead show x", "see 'sluice dead show --help'"},
		{"chunk a.txt --max-tokens 3", "max tokens is 3"},
		{"plan nothing", "no file matches"},
		{"completion tcsh", "see 'sluice completion --help'"},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := sluice(t, strings.Fields(c.args)...).want(t, 2)
			if r.out != "" {
				t.Errorf("a usage error prints to the standard output: %s", r.out)
			}
			if !strings.HasPrefix(r.err, "sluice: ") || strings.Count(r.err, "\n") != 1 {
				t.Errorf("not one line that begins with 'sluice: ': %q", r.err)
			}
			r.says(t, c.says, "; hint: ")
		})
	}
}

func TestErrorsAreJSONIfAskedFor(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
	}{{"bogus --json", 2}, {"ls --json --nats-url nats://127.0.0.1:1", 1}} {
		r := sluice(t, strings.Fields(c.args)...).want(t, c.code)
		e := one[struct{ Error, Reason, Hint string }](t, result{out: r.err})
		if e.Error == "" || e.Reason == "" || e.Hint == "" || r.out != "" {
			t.Errorf("%s: %+v, out %q", c.args, e, r.out)
		}
	}
}

func TestWithoutAServerTheNextStepIsNamed(t *testing.T) {
	in(t, map[string]string{"a.txt": "text"})
	var wg sync.WaitGroup
	for _, args := range []string{
		"ingest a.txt", "search x", "status", "trace a", "ls", "rm a", "dead ls", "dead show 1", "dead replay --all", "dead purge 1",
	} {
		wg.Go(func() {
			r := sluice(t, append(strings.Fields(args), "--nats-url", "nats://user:secret@127.0.0.1:1")...)
			if r.code != 1 {
				t.Errorf("%s: exit code %d", args, r.code)
			}
			r.says(t, "sluice: nothing answers at nats://xxxxx@127.0.0.1:1; hint: start Sluice with 'sluice up'")
		})
	}
	wg.Wait()
}

func TestVersion(t *testing.T) {
	sluice(t, "version").want(t, 0).has(t, "sluice "+Version)
	v := one[struct {
		Version, Commit, Go string
		Modified            bool
	}](t, sluice(t, "version", "--json").want(t, 0))
	if v.Version != Version || v.Go == "" {
		t.Errorf("%+v", v)
	}
}

func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  []string // all of these, as words
		not   string
	}{
		{[]string{""}, []string{"up", "ingest", "dead"}, "__complete"},
		{[]string{"se"}, []string{"search"}, "up"},
		{[]string{"dead", ""}, []string{"ls", "show", "replay", "purge"}, "up"},
		{[]string{"search", "--mo"}, []string{"--mode"}, "--tenant"},
		{[]string{"search", "--mode", ""}, []string{"hybrid", "keyword", "vector"}, "--mode"},
		{[]string{"search", "--mode", "="}, []string{"hybrid", "keyword", "vector"}, ""},
		{[]string{"search", "--mode", "=", "k"}, []string{"keyword"}, "hybrid"},
		{[]string{"search", "--mode=k"}, []string{"--mode=keyword"}, "--mode=hybrid"},
		{[]string{"search", "-k", "3", "--j"}, []string{"--json"}, "--mode"},
		{[]string{"ingest", "a.txt", ""}, []string{":files"}, "up"},
		{[]string{"up", "--data", ""}, []string{":files"}, "--data"},
		{[]string{"chunk", "a.md", "--strategy", "s"}, []string{"sentence"}, "markdown"},
		{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}, ""},
		{[]string{"ls", "--", "--st"}, nil, "--state"},
	} {
		got := map[string]bool{}
		for _, l := range candidates(model(t).Model.Node, c.words) {
			word, _, _ := strings.Cut(l, "\t")
			got[word] = true
		}
		for _, w := range c.want {
			if !got[w] {
				t.Errorf("%q: %q is not offered, but %v", c.words, w, got)
			}
		}
		if got[c.not] {
			t.Errorf("%q: %q is offered", c.words, c.not)
		}
	}
	sluice(t, "__complete", "dead", "re").want(t, 0).has(t, "replay\t")
	sluice(t, "__complete", "--", "search", "--mo").want(t, 0)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		sluice(t, "completion", shell).want(t, 0).has(t, "sluice __complete")
	}
}
