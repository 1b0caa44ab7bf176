package parser_test

import (
	"fmt"
	"testing"
	"time"

	"sluice/pkg/events"
)

// What a fallback read is parsed again, unless it has been replaced or deleted.
func TestWhatIsParsedAgain(t *testing.T) {
	r := setUp(t, nil)
	kv, err := r.env.JS.KeyValue(t.Context(), events.BucketDocuments)
	if err != nil {
		t.Fatal(err)
	}
	poor := events.RevisionOf(20)
	older, newer := events.RevisionOf(19).Whole(), events.RevisionOf(21)
	live := func(rev events.Revision, degraded bool) *events.Live {
		return &events.Live{Revision: rev, Degraded: degraded}
	}
	cases := []struct {
		name   string
		entry  *events.Document
		wanted bool
	}{
		{"nothing is known of it", nil, true},
		{"it is searched as the fallback read it", &events.Document{Revision: poor, State: events.StateDegraded, Live: live(poor, true)}, true},
		{"it is on its way", &events.Document{Revision: poor, State: events.StateParsed, Live: live(older, false)}, true},
		{"nobody could read it yet", &events.Document{Revision: poor, State: events.StateAccepted}, true},
		{"it failed further on", &events.Document{Revision: poor, State: events.StateFailed}, true},
		{"it is whole", &events.Document{Revision: poor.Whole(), State: events.StateComplete, Live: live(poor.Whole(), false)}, false},
		{"it is deleted", &events.Document{Revision: newer.Whole(), State: events.StateDeleted, Gone: newer.Whole()}, false},
		{"a newer one is searched", &events.Document{Revision: newer.Whole(), State: events.StateComplete, Live: live(newer.Whole(), false)}, false},
		{"a newer one has been read", &events.Document{Revision: newer, State: events.StateParsed, Live: live(poor, true)}, false},
		{"a newer one has not been read", &events.Document{Revision: newer, State: events.StateAccepted, Live: live(poor, true)}, true},
		{"a newer one was refused", &events.Document{Revision: newer, State: events.StateFailed, Live: live(poor, true)}, true},
	}
	submitted := time.Unix(1000, 0).UTC()
	for i, tc := range cases {
		id := events.DocumentID("acme", fmt.Sprint(i))
		if tc.entry != nil {
			tc.entry.V, tc.entry.Document, tc.entry.Tenant = 1, id, "acme"
			if _, err := kv.Put(t.Context(), id, events.Encode(tc.entry)); err != nil {
				t.Fatal(err)
			}
		}
		r.publish(t, events.SubjectReparse, events.Encode(events.Reparse{
			V: 1, Document: id, Revision: poor, Tenant: "acme", File: "a.txt", ContentType: "text/plain", Meta: map[string]string{"Team": "blue"},
			Submitted: submitted, Data: []byte("text"),
		}), events.HeaderDocumentID, id, events.HeaderRevision, poor.String(), events.HeaderTenant, "acme", events.HeaderFilename, fmt.Sprint(i))
	}
	for i, tc := range cases {
		id := events.DocumentID("acme", fmt.Sprint(i))
		r.wait(t, tc.name, func() bool {
			for _, e := range r.told {
				if e.Document == id && e.Revision != poor.Whole() {
					t.Errorf("%s: event %s of revision %d", tc.name, e.What, e.Revision)
				}
				if e.Document == id && e.What == events.Superseded {
					if tc.wanted {
						t.Errorf("%s: it was left as it is", tc.name)
					}
					return true
				}
			}
			for _, p := range r.parsed {
				if p.Document != id {
					continue
				}
				if !tc.wanted || p.Revision != poor.Whole() || p.Markdown != "TEXT\n" || p.Name != fmt.Sprint(i) || p.Meta["Team"] != "blue" ||
					p.Facts.Type != "text/plain" || !p.Submitted.Equal(submitted) || p.Degraded || p.Parser != "upper/1" || p.ContentHash != events.ContentHash([]byte("text")) {
					t.Errorf("%s: %+v", tc.name, p)
				}
				return true
			}
			return false
		})
	}
	// What names another document than its headers is nobody's.
	id := events.DocumentID("acme", "x")
	r.publish(t, events.SubjectReparse, events.Encode(events.Reparse{V: 1, Document: id, Revision: poor, Tenant: "acme", Data: []byte("text")}),
		events.HeaderDocumentID, id, events.HeaderRevision, newer.String())
	r.wait(t, "refused", func() bool {
		return len(r.dead) == 1 && r.dead[0].Header.Get(events.HeaderFailureReason) == "malformed-event" && r.dead[0].Header.Get(events.HeaderFailureStage) == "reparser"
	})
}
