package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
	"github.com/nats-io/nats.go"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

// A long name is cut in its middle, to the width of the terminal, and only there.
func TestLongNamesAreCutInTheMiddle(t *testing.T) {
	name := strings.Repeat("very/", 30) + "long.pdf"
	wide := strings.Repeat("水", 40) + ".md"
	for _, width := range []int{0, 40, 80, 400} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			var out bytes.Buffer
			o := &output{Streams: Streams{Out: &out}, width: width}
			planning{Documents: []planned{{Name: name, Bytes: 10, Chunks: 1}, {Name: wide}, {Name: "short.md"}}}.print(o)
			table, _, _ := strings.Cut(out.String(), "\n\n")
			rows := strings.Split(table, "\n")
			if len(rows) != 4 {
				t.Fatalf("%d lines, want a header and three documents:\n%s", len(rows), table)
			}
			for _, r := range rows {
				if w := lipgloss.Width(r); width > 0 && w > max(width, 60) {
					t.Errorf("%d columns: %s", w, r)
				}
			}
			whole := width == 0 || width == 400
			if strings.Contains(rows[1], name) != whole || !whole && (!strings.HasPrefix(rows[1], "very/") || !strings.Contains(rows[1], "…") || !strings.Contains(rows[1], ".pdf  ok")) {
				t.Errorf("%s", rows[1])
			}
			if !strings.HasPrefix(rows[3], "short.md  ") {
				t.Errorf("%s", rows[3])
			}
		})
	}
}

func TestMiddle(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"abcdef", 6, "abcdef"},
		{"abcdef", 5, "ab…ef"},
		{"abcdef", 4, "ab…f"},
		{"abcdef", 1, "…"},
		{"abcdef", 0, "…"},
		{"水水水水", 5, "水…水"},
	} {
		if got := middle(c.text, c.width); got != c.want {
			t.Errorf("middle(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

// The revision is the same number for people and for programs.
func TestARevisionIsOneNumber(t *testing.T) {
	start(t, nil)
	in(t, map[string]string{"a.md": "# A\n\nThe first."})
	sluice(t, "ingest", "a.md").want(t, 0)
	first := one[events.Document](t, sluice(t, "status", "a.md", "--json").want(t, 0))
	sluice(t, "status", "a.md").want(t, 0).has(t, fmt.Sprintf("revision     %d, submitted %s", first.Revision, stamp(first.Submitted)))
	sluice(t, "trace", "a.md").want(t, 0).has(t, "a.md, submitted "+stamp(first.Submitted))
	write(t, "a.md", "\x00\x01\x02") // it fails, and the first stays searchable
	sluice(t, "ingest", "a.md").want(t, 1)
	sluice(t, "status", "a.md").want(t, 0).has(t, fmt.Sprintf("searchable   revision %d, submitted %s, with 1 chunk", first.Revision, stamp(first.Submitted)))
}

// An empty header is none, so metadata without a value would be dropped.
func TestMetadataWithoutAValue(t *testing.T) {
	start(t, nil)
	in(t, map[string]string{"a.md": "# A\n\nThe eel ladder."})
	for _, v := range []string{"Draft=", "Draft= "} {
		sluice(t, "ingest", "a.md", "--meta", v).want(t, 1).says(t, `the metadata "Draft" has no value`, "give it one, or leave it out")
	}
	if all := lines[events.Document](t, sluice(t, "ls", "--json").want(t, 0)); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	sluice(t, "search", "eel ladder", "--meta", "Draft=").want(t, 2).says(t, "--meta Draft has no value")
}

// A document whose deletion is under way was not submitted again.
func TestDeadLettersOfWhatIsBeingDeleted(t *testing.T) {
	d := &events.Document{State: events.StateAccepted, Revision: 2000}
	if text := overtaken(d, 1001); !strings.Contains(text, "a newer submission or deletion of the document") || !strings.HasSuffix(text, "is accepted") {
		t.Errorf("%q", text)
	}
	d.State = events.StateParsed // which no deletion ever is
	if text := overtaken(d, 1001); !strings.Contains(text, "the document was submitted again") {
		t.Errorf("%q", text)
	}
	d.Gone = 2001
	if text := overtaken(d, 1001); !strings.Contains(text, "the document was deleted") {
		t.Errorf("%q", text)
	}
}

// Without a costd that keeps the budget, the command says whether there is one that
// will, or whether somebody has to start one.
func TestTheBudgetWithoutALeader(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	t.Setenv("NATS_URL", url)
	sluice(t, "budget", "set", "global", "--day", "1").want(t, 1).says(t, "no costd runs, so nothing was changed", "start costd")
	// One that has just started tells who it is, and answers nothing yet.
	nc := natstest.Connect(t, url)
	if _, err := nc.Subscribe("$SRV.STATS", func(m *nats.Msg) {
		if err := m.Respond([]byte(`{"name":"costd","id":"x","version":"1.0.0"}`)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	sluice(t, "budget", "set", "global", "--day", "1").want(t, 1).says(t, "1 costd runs, but none keeps the budget yet", "try again in 10 seconds")
}
