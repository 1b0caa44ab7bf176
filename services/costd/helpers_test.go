package costd_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/budget"
	"sluice/pkg/natstest"
)

func decode(t testing.TB, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ask asks costd until it leads and answers.
func ask(t testing.TB, nc *nats.Conn, r budget.Request, a *budget.Answer) {
	t.Helper()
	natstest.Eventually(t, 10*time.Second, "an answer", func() bool {
		m, err := nc.Request(budget.SubjectLease, encode(t, r), time.Second)
		if err == nil {
			*a = budget.Answer{}
			decode(t, m.Data, a)
		}
		return err == nil
	})
}
