package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
)

// Bad input is refused with a reason or read as well as it goes; no process
// ends or grows for it, and the good documents in between are all complete.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{args: map[string][]string{"parser": {"--parser-timeout", "20s"}}})
	pids := map[*process]int{}
	for _, p := range w.processes() {
		pids[p] = p.pid()
	}
	inbox, err := w.js.ObjectStore(t.Context(), events.StoreInbox)
	if err != nil {
		t.Fatal(err)
	}
	good := corpus(t, 60)
	var bad []specimen
	var badSubs, goodSubs []submission
	letters := malformed(t)
	unsent := letters
	for i, s := range specimens(t) {
		if i%6 == 0 && len(goodSubs) < len(good) {
			f := good[len(goodSubs)]
			goodSubs = append(goodSubs, w.submit("good-"+f.name, f.data))
		}
		if len(unsent) > 0 {
			w.publish(unsent[0].msg)
			unsent = unsent[1:]
		}
		var sub submission
		if s.inbox {
			if _, err := inbox.Put(t.Context(), jetstream.ObjectMeta{Name: s.name}, bytes.NewReader(s.data)); err != nil {
				t.Fatalf("%s: %v", s.kind, err)
			}
			sub = submission{Name: s.name, Document: events.DocumentID(events.DefaultTenant, s.name), Sequence: 1}
		} else {
			sub = w.submit(s.name, s.data, s.header...)
		}
		s.data = nil // 200 MB of it
		bad, badSubs = append(bad, s), append(badSubs, sub)
	}
	for _, l := range unsent {
		w.publish(l.msg)
	}
	for _, f := range good[len(goodSubs):] {
		goodSubs = append(goodSubs, w.submit("good-"+f.name, f.data))
	}
	docs := w.settle(4*time.Minute, append(badSubs, goodSubs...)...)

	for i, s := range goodSubs {
		if d := docs[s.Document]; d.State != events.StateComplete {
			t.Errorf("the good document %s (%d) is %s: %+v", s.Name, i, d.State, d.Failure)
		}
	}
	dead := map[string]*jetstream.RawStreamMsg{}
	correlated := map[string]*jetstream.RawStreamMsg{}
	for _, m := range w.deadLetters() {
		dead[m.Header.Get(events.HeaderDocumentID)+"/"+m.Header.Get(events.HeaderRevision)] = m
		correlated[m.Header.Get(events.HeaderCorrelationID)] = m
	}
	tally := map[string]int{}
	for i, s := range bad {
		d := docs[badSubs[i].Document]
		switch {
		case d.State == events.StateComplete:
			tally["complete"]++
			if s.want == refused {
				t.Errorf("%s: complete, want a refusal", s.kind)
			}
		case d.State == events.StateFailed && d.Failure != nil:
			tally[d.Failure.Reason]++
			if s.want == clean || (s.reason != "" && d.Failure.Reason != s.reason) {
				t.Errorf("%s: failed as %s (%.300s), want %q", s.kind, d.Failure.Reason, d.Failure.Message, s.reason)
			}
			checkFailure(t, s.kind, *d.Failure)
			if m := dead[d.Document+"/"+d.Revision.String()]; m == nil || m.Header.Get(events.HeaderFailureReason) != d.Failure.Reason {
				t.Errorf("%s: no dead letter with the reason %s", s.kind, d.Failure.Reason)
			}
		default:
			t.Errorf("%s: %s with failure %v", s.kind, d.State, d.Failure)
		}
	}
	t.Logf("%d kinds of documents, %d kinds of messages; outcomes: %v", len(bad), len(letters), tally)

	for _, l := range letters {
		id := l.msg.Header.Get(events.HeaderCorrelationID)
		w.eventually(20*time.Second, "a dead letter of "+l.kind, func() error {
			if correlated[id] == nil {
				for _, m := range w.deadLetters() {
					correlated[m.Header.Get(events.HeaderCorrelationID)] = m
				}
			}
			if correlated[id] == nil {
				return errors.New("none")
			}
			return nil
		})
		m := correlated[id]
		if got := m.Header.Get(events.HeaderFailureStage); got != l.stage {
			t.Errorf("%s: the stage of the dead letter is %q, want %q", l.kind, got, l.stage)
		}
		if got := m.Header.Get(events.HeaderFailureReason); l.reason != "" && got != l.reason {
			t.Errorf("%s: the reason is %q (%s), want %q", l.kind, got, m.Header.Get(events.HeaderFailureMessage), l.reason)
		}
		checkFailure(t, l.kind, events.Failure{
			Stage: l.stage, Class: m.Header.Get(events.HeaderFailureClass), Reason: m.Header.Get(events.HeaderFailureReason), Message: m.Header.Get(events.HeaderFailureMessage),
		})
		if !bytes.Equal(m.Data, l.msg.Data) {
			t.Errorf("%s: the dead letter has %d bytes of body, the message had %d", l.kind, len(m.Data), len(l.msg.Data))
		}
	}

	for _, p := range w.processes() {
		if !p.alive() || p.pid() != pids[p] {
			t.Errorf("the %s did not live through it", p.name)
			continue
		}
		bytes, err := peak(p.pid())
		if err != nil {
			t.Error(err)
		}
		t.Logf("peak memory of the %s: %d MiB", p.name, bytes>>20)
		if bytes > 512<<20 {
			t.Errorf("the %s grew to %d MiB", p.name, bytes>>20)
		}
	}
	// And it goes on.
	if d := w.one(w.submit("afterwards.md", []byte("# Afterwards\n\nThe sun came out over the estuary.\n"))); d.State != events.StateComplete {
		t.Errorf("a document after all that is %s", d.State)
	}
	if reply := w.search(events.SearchRequest{Query: "sun over the estuary", K: 1}); len(reply.Hits) != 1 || reply.Hits[0].Name != "afterwards.md" {
		t.Errorf("hits %+v", reply.Hits)
	}
	w.drained(30 * time.Second)
}

// checkFailure holds a failure to what everyone who reads it needs.
func checkFailure(t *testing.T, kind string, f events.Failure) {
	t.Helper()
	switch {
	case f.Stage == "" || f.Reason == "" || f.Message == "":
		t.Errorf("%s: a failure without stage, reason or message: %+v", kind, f)
	case f.Class != "validation" && f.Class != "execution" && !strings.Contains(kind, "blob that is not there"):
		t.Errorf("%s: failed with class %s: %s", kind, f.Class, f.Message)
	case f.Reason == "panic" || f.Reason == "crash-loop" || f.Reason == "unclassified" || f.Reason == "parser-crash" || f.Reason == "unpublishable":
		t.Errorf("%s: %s: %s", kind, f.Reason, fmt.Sprintf("%.1500s", f.Message))
	}
}
