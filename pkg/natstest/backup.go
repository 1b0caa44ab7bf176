package natstest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Backup is a stream as it once was.
type Backup struct {
	config, state json.RawMessage
	chunks        [][]byte
}

// TakeBackup copies a stream, as 'nats stream backup' does.
func TakeBackup(tb testing.TB, nc *nats.Conn, stream string) *Backup {
	tb.Helper()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := sub.Unsubscribe(); err != nil {
			tb.Error(err)
		}
	}()
	var head struct {
		Config json.RawMessage `json:"config"`
		State  json.RawMessage `json:"state"`
	}
	api(tb, nc, "$JS.API.STREAM.SNAPSHOT."+stream, map[string]any{"deliver_subject": inbox, "no_consumers": true}, &head)
	b := &Backup{config: head.Config, state: head.State}
	for {
		m, err := sub.NextMsg(20 * time.Second)
		if err != nil {
			tb.Fatal(err)
		}
		if len(m.Data) == 0 {
			return b
		}
		b.chunks = append(b.chunks, m.Data)
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// Restore makes the stream of a backup, which must not exist, as 'nats stream
// restore' does.
func (b *Backup) Restore(tb testing.TB, nc *nats.Conn, stream string) {
	tb.Helper()
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	api(tb, nc, "$JS.API.STREAM.RESTORE."+stream, map[string]any{"config": b.config, "state": b.state}, &to)
	for _, c := range append(b.chunks, nil) {
		m, err := nc.Request(to.Subject, c, 20*time.Second)
		if err != nil {
			tb.Fatal(err)
		}
		refused(tb, m.Data)
	}
}

// api asks the server, and fails the test if it refuses.
func api(tb testing.TB, nc *nats.Conn, subject string, request, reply any) {
	tb.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := nc.Request(subject, body, 20*time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	refused(tb, m.Data)
	if err := json.Unmarshal(m.Data, reply); err != nil {
		tb.Fatal(err)
	}
}

func refused(tb testing.TB, answer []byte) {
	tb.Helper()
	var e struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if len(answer) > 0 && json.Unmarshal(answer, &e) == nil && e.Error != nil {
		tb.Fatal(e.Error.Description)
	}
}
