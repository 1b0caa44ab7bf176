package broker

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/fault"
)

// MinimumServer is the oldest nats-server that has all that Sluice uses. Older
// ones do not refuse what they do not know. They ignore it, and then the promises
// fail without a word. What came with which release:
//
//	2.10  the first sequence of a stream (revisions are based on the clock), compression
//	2.11  expiry of single entries and markers of it (claims of dead processes)
//	2.12  atomic batches (the ledgers of a paid call change together or not at all)
const MinimumServer = "2.12.1"

// ReasonServer is the reason of the fault of a server that is too old.
const ReasonServer = "nats-version"

// Fit returns what is wrong with the server of a connection, or nil. Ask again
// after a reconnect: the next server may be another one.
func Fit(nc *nats.Conn) *fault.Error {
	return fit(nc.ConnectedServerVersion(), nc.ConnectedUrlRedacted())
}

func fit(version, url string) *fault.Error {
	if version == "" || !olderThan(version, MinimumServer) {
		return nil // "" is a connection that is lost: nothing is known of the next server
	}
	return fault.New(fault.Halt, ReasonServer, "NATS at %s is nats-server %s; Sluice needs %s or later", url, version, MinimumServer).
		WithHint("upgrade nats-server: without atomic batches and the expiry of single entries the budget and the claims do not work")
}

// olderThan compares releases. A pre-release ("2.12.1-RC.2") counts as its
// release, and what cannot be read as new: a server of one's own build.
func olderThan(version, minimum string) bool {
	have, ok := release(version)
	if !ok {
		return false
	}
	want, _ := release(minimum)
	for i := range have {
		if have[i] != want[i] {
			return have[i] < want[i]
		}
	}
	return false
}

func release(version string) (parts [3]int, ok bool) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	version, _, _ = strings.Cut(version, "+")
	fields := strings.Split(version, ".")
	if len(fields) != len(parts) {
		return parts, false
	}
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil {
			return parts, false
		}
		parts[i] = n
	}
	return parts, true
}

// again is how often the same trouble is told: at once, and then now and then, so
// that a log that somebody looks into has it on its last pages.
const again = 30 * time.Second

// teller tells what is wrong with a connection: changes at once, the same thing
// again after a while. It is used by one goroutine at a time.
type teller struct {
	tell func(*fault.Error)
	said string
	at   time.Time
}

func (t *teller) say(f *fault.Error) {
	if t.tell == nil {
		return
	}
	text := ""
	if f != nil {
		text = f.Reason
	}
	if text == t.said && (f == nil || time.Since(t.at) < again) {
		return
	}
	t.said, t.at = text, time.Now()
	t.tell(f)
}

// unreachable is the fault of a server that does not answer.
func (c Config) unreachable(err error) *fault.Error {
	return fault.Wrap(err, fault.Unavailable, "nats-unreachable", "no NATS server at %s", c.Redacted()).
		WithHint("start one with 'sluice up', or set --nats-url")
}

// watch tells what becomes of a connection until it is closed.
func (c Config) watch(nc *nats.Conn, t *teller) {
	changes := nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		switch {
		case nc.IsClosed():
			return
		case nc.IsConnected():
			t.say(Fit(nc))
		default:
			err := nc.LastError()
			if err == nil {
				err = fmt.Errorf("the connection is lost")
			}
			t.say(c.unreachable(err))
		}
		select {
		case <-changes:
		case <-tick.C:
		}
	}
}
