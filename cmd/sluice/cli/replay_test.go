package cli

import (
	"os"
	"strings"
	"testing"

	"sluice/pkg/events"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAReplayKeepsItsRevision replays submissions that something newer has
// overtaken. Before, each of them became the newest of its document.
func TestAReplayKeepsItsRevision(t *testing.T) {
	start(t, nil)
	in(t, map[string]string{"twice.txt": "", "once.txt": "", "removed.txt": ""})
	sluice(t, "ingest", ".").want(t, 1)
	all := lines[letter](t, sluice(t, "dead", "ls", "--json").want(t, 0))
	if len(all) != 3 {
		t.Fatalf("%d dead letters", len(all))
	}
	numbers := map[string]string{}
	for _, l := range all {
		if l.Superseded != "" {
			t.Errorf("%s is superseded: %s", l.Name, l.Superseded)
		}
		numbers[l.Name] = string(rune('0' + l.Seq))
	}
	// The newer one fails, too, so nothing ends the letter of the older one.
	write(t, "twice.txt", "\x00\x01\x02")
	sluice(t, "ingest", "twice.txt").want(t, 1)
	newer := one[events.Document](t, sluice(t, "status", "twice.txt", "--json").want(t, 0))
	sluice(t, "dead", "ls").want(t, 0).has(t, "superseded: the document was submitted again")
	sluice(t, "dead", "show", numbers["twice.txt"]).want(t, 0).has(t, "state    superseded: the document was submitted again")
	sluice(t, "dead", "replay", numbers["twice.txt"]).want(t, 1).says(t, "was submitted again", "--as-new")

	// A replay keeps its revision, and what fails again is still the old submission.
	before := one[events.Document](t, sluice(t, "status", "once.txt", "--json").want(t, 0))
	sluice(t, "dead", "replay", numbers["once.txt"]).want(t, 0).has(t, "1 dead letter replayed")
	eventually(t, "it has failed again", func() bool {
		for _, l := range lines[letter](t, sluice(t, "dead", "ls", "--json").want(t, 0)) {
			if l.Name == "once.txt" {
				numbers["once.txt"] = string(rune('0' + l.Seq))
				return l.Revision == before.Revision.String()
			}
		}
		return false
	})

	// A selection leaves what is superseded.
	sluice(t, "rm", "removed.txt").want(t, 0)
	sluice(t, "dead", "replay", "--all").want(t, 0)
	eventually(t, "what was replayed is dead again", func() bool {
		n := 0
		for _, l := range lines[letter](t, sluice(t, "dead", "ls", "--json").want(t, 0)) {
			if l.Superseded == "" {
				n++
			}
		}
		return n == 2
	})
	if d := one[events.Document](t, sluice(t, "status", "removed.txt", "--json").want(t, 0)); d.State != events.StateDeleted {
		t.Errorf("what was removed is %s after a replay", d.State)
	}
	if d := one[events.Document](t, sluice(t, "status", "twice.txt", "--json").want(t, 0)); d.Revision.Submission() != newer.Revision.Submission() {
		t.Errorf("the newest submission was %v, and is %v", newer.Revision, d.Revision)
	}

	// As new, it is the newest.
	sluice(t, "dead", "replay", numbers["twice.txt"], "--as-new").want(t, 0)
	eventually(t, "the old content is the newest", func() bool {
		d := one[events.Document](t, sluice(t, "status", "twice.txt", "--json").want(t, 0))
		return d.Revision > newer.Revision && d.State == events.StateFailed && strings.Contains(d.Failure.Reason, "empty")
	})
}

// TestLettersEndWithASuccess has documents fail, and then be submitted well, or
// removed. Nobody has to purge what they left.
func TestLettersEndWithASuccess(t *testing.T) {
	start(t, nil)
	in(t, map[string]string{"mended.txt": "", "removed.txt": "", "broken.txt": ""})
	sluice(t, "ingest", ".").want(t, 1)
	if all := lines[letter](t, sluice(t, "dead", "ls", "--json").want(t, 0)); len(all) != 3 {
		t.Fatalf("%d dead letters", len(all))
	}
	write(t, "mended.txt", "Now it has words.")
	sluice(t, "ingest", "mended.txt").want(t, 0)
	sluice(t, "rm", "removed.txt").want(t, 0)
	eventually(t, "only what is broken is left", func() bool {
		all := lines[letter](t, sluice(t, "dead", "ls", "--json").want(t, 0))
		return len(all) == 1 && all[0].Name == "broken.txt"
	})
}
