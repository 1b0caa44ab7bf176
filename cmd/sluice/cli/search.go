package cli

import (
	"context"
	"encoding/json"
	"net/textproto"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// SearchCmd searches.
type SearchCmd struct {
	Query  []string          `arg:"" help:"What to look for; quotes are not needed."`
	K      int               `short:"k" default:"5" help:"How many results, at most 1000; default ${default}." placeholder:"N"`
	Mode   string            `default:"hybrid" enum:"hybrid,keyword,vector" help:"What to compare: words, vectors, or both (${enum})."`
	Tenant string            `help:"Whose documents; without it those of the tenant default. A search sees one tenant." placeholder:"NAME"`
	Meta   map[string]string `help:"Only documents with this metadata. May be repeated." placeholder:"KEY=VALUE" mapsep:"none"`
	Online
}

// Help is shown by --help.
func (SearchCmd) Help() string {
	return examples("Prints the best chunks with the document, headings and page they are from. "+
		"Scores are for comparing the hits of one search, and nothing else.",
		"sluice search when may the lock be used at night", "The best hits",
		"sluice search -k 20 --mode keyword \"notice period\"", "Twenty, by words alone",
		"sluice search --tenant acme --meta Year=2026 liability", "In a part of the documents",
		"sluice search liability --json | jq -r '.hits[0].text'", "The best chunk, for a program")
}

// Run searches.
func (cmd SearchCmd) Run(ctx context.Context, o *output) error {
	for k, v := range cmd.Meta {
		if v == "" {
			return usagef("give it one, or leave it out: no document has metadata without a value", "--meta %s has no value", k)
		}
	}
	if cmd.K < 1 || cmd.K > 1000 {
		return usagef("use -k 1 to -k 1000", "-k is %d", cmd.K)
	}
	c, err := cmd.open(ctx)
	if f := fault.From(err); f != nil && f.Reason == reasonBucketLost {
		c, err = cmd.connect(ctx) // the index is all that a search takes
	}
	if err != nil {
		return err
	}
	defer c.close()
	meta := map[string]string{}
	for k, v := range cmd.Meta {
		// As the parser keeps it: NATS clients differ in how they write headers.
		meta[textproto.CanonicalMIMEHeaderKey(k)] = v
	}
	return search(ctx, o, c, events.SearchRequest{
		Query: strings.Join(cmd.Query, " "), K: cmd.K, Mode: cmd.Mode, Tenant: cmd.Tenant, Meta: meta,
	})
}

func search(ctx context.Context, o *output, c *client, q events.SearchRequest) error {
	if strings.TrimSpace(q.Query) == "" {
		return usagef("say what to look for", "the query is empty")
	}
	data, err := c.ask(ctx, "indexer", events.SubjectSearch, events.Encode(q), 30*time.Second)
	if err != nil {
		return err
	}
	var reply events.SearchReply
	if err := json.Unmarshal(data, &reply); err != nil {
		return fault.Wrap(err, fault.Execution, "malformed-reply", "the indexer's answer cannot be read").
			WithHint("run a CLI and stages of one release")
	}
	if reply.Error != "" {
		return failf("refused", "see 'sluice doctor'", "the indexer answers: %s", reply.Error)
	}
	if reply.Hits == nil {
		reply.Hits = []events.Hit{} // an empty list and not null, for programs
	}
	if o.json {
		return o.line(reply)
	}
	if reply.Note != "" {
		o.notef("note: %s", oneLine(reply.Note))
	}
	if len(reply.Hits) == 0 {
		o.notef("nothing found; hint: other words, or 'sluice ls' to see what is there")
		return nil
	}
	terms := words(q.Query)
	for i, h := range reply.Hits {
		if i > 0 {
			o.printf("\n")
		}
		printHit(o, i+1, h, terms)
	}
	return nil
}

func printHit(o *output, n int, h events.Hit, terms []string) {
	name := h.Name
	if name == "" {
		name = h.Document
	}
	where := ""
	if h.Page > 0 {
		where += ", page " + grouped(int64(h.Page))
	}
	if len(h.Headings) > 0 {
		where += ", " + strings.Join(h.Headings, " > ")
	}
	o.printf("%2d. %s%s  %s\n", n, o.paint(bold, safe(name)), safe(where), o.paint(dim, "("+score(h.Score)+")"))
	if h.Header != "" {
		o.printf("    %s\n", snippet(o, h.Header, terms))
	}
	o.printf("    %s\n", snippet(o, h.Text, terms))
}

func score(s float64) string {
	b, err := json.Marshal(float64(int64(s*10000)) / 10000)
	if err != nil {
		return "-" // not a number
	}
	return string(b)
}

// words are the words of a query, in lower case.
func words(query string) []string {
	return strings.FieldsFunc(strings.ToLower(query), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
}

// snippetBytes is about how much text of a hit is shown.
const snippetBytes = 280

// snippet returns the part of a chunk in which most of the query's words are,
// in one line, with the words painted.
func snippet(o *output, text string, terms []string) string {
	// A bound, so that a huge chunk costs no more than a screenful.
	if len(text) > 64<<10 {
		text = strings.ToValidUTF8(text[:64<<10], "")
	}
	text = oneLine(text)
	marks := matches(text, terms)
	from := best(text, marks)
	to := from + snippetBytes
	if to >= len(text) {
		to = len(text)
	} else {
		for to > from && !utf8.RuneStart(text[to]) {
			to--
		}
		if i := strings.LastIndexByte(text[from:to], ' '); i > snippetBytes/2 {
			to = from + i
		}
	}
	var b strings.Builder
	if from > 0 {
		b.WriteString("… ")
	}
	at := from
	for _, m := range marks {
		if m.from < at || m.to > to {
			continue
		}
		b.WriteString(text[at:m.from])
		b.WriteString(o.paint(match, text[m.from:m.to]))
		at = m.to
	}
	b.WriteString(text[at:to])
	if to < len(text) {
		b.WriteString(" …")
	}
	return b.String()
}

var match = bold.Underline(true)

type span struct {
	from, to int
	term     string
}

// matches finds the words of text that begin as a term does: the index compares
// stems, so "locks" is found for "lock". Short terms have to be equal.
func matches(text string, terms []string) []span {
	var found []span
	start := -1
	check := func(end int) {
		if start < 0 {
			return
		}
		word := strings.ToLower(text[start:end])
		for _, t := range terms {
			n := commonPrefix(word, t)
			if word == t || (n >= 4 && len(t)-n <= 3 && len(word)-n <= 4) {
				found = append(found, span{start, end, t})
				break
			}
		}
		start = -1
	}
	for i, r := range text {
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			if start < 0 {
				start = i
			}
		} else {
			check(i)
		}
	}
	check(len(text))
	return found
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// best returns where the snippet with the most different terms begins, at the
// beginning of a word.
func best(text string, marks []span) int {
	if len(text) <= snippetBytes {
		return 0
	}
	top, from := 0, 0
	end := 0
	in := map[string]int{}
	for _, m := range marks { // a window that begins at each mark
		for end < len(marks) && marks[end].to <= m.from+snippetBytes-40 {
			in[marks[end].term]++
			end++
		}
		if len(in) > top {
			top, from = len(in), m.from
		}
		if in[m.term]--; in[m.term] <= 0 {
			delete(in, m.term)
		}
	}
	if from <= 40 {
		return 0
	}
	from -= 40
	if i := strings.IndexByte(text[from:], ' '); i >= 0 && i < 40 {
		return from + i + 1
	}
	for !utf8.RuneStart(text[from]) {
		from++
	}
	return from
}
